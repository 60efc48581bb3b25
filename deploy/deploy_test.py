"""The manifests and the image description hold true of the Kubernetes API and of the programs as built."""

import copy
import pathlib
import re
import subprocess
import unittest

import kubernetes_validate
import yaml

KUBERNETES_VERSION = "1.32"
FOLDER = pathlib.Path("deploy/kubernetes")
PROGRAMS = {
    "coordinator": "coordinator/coordinator",
    "worker": "worker/worker",
    "phalanx": "client/phalanx",
}


def manifests():
    for path in sorted(FOLDER.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] != "Kustomization":
                yield path, document


def pods():
    for _, document in manifests():
        if "template" in document["spec"]:
            yield document["spec"]["template"]["spec"]


def commands():
    for pod in pods():
        for container in pod["containers"]:
            yield container["command"]


def validate(document):
    kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)


def seconds(duration):
    value, unit = re.fullmatch(r"(\d+)([sm])", duration).groups()
    return int(value) * {"s": 1, "m": 60}[unit]


class ManifestTest(unittest.TestCase):
    def test_every_manifest_fits_the_schema(self):
        kinds = set()
        for _, document in manifests():
            validate(document)
            kinds.add(document["kind"])
        self.assertLessEqual({"Deployment", "StatefulSet", "Service"}, kinds)

    def test_a_misspelt_field_does_not(self):
        for _, document in manifests():
            broken = copy.deepcopy(document)
            broken["spec"]["replicaz"] = 1
            with self.assertRaises(kubernetes_validate.ValidationError):
                validate(broken)

    def test_the_kustomization_names_every_manifest(self):
        listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
        self.assertEqual({path.name for path, _ in manifests()}, set(listed))

    def test_the_grace_period_is_longer_than_lame_duck_and_drain(self):
        for pod in pods():
            for container in pod["containers"]:
                flags = dict(flag.split("=", 1) for flag in container["command"][1:])
                end = seconds(flags["--lame_duck"]) + seconds(flags["--drain_timeout"])
                # What a program takes at most to break off the rest.
                self.assertGreaterEqual(pod["terminationGracePeriodSeconds"], end + 5)
                self.assertGreater(seconds(flags["--lame_duck"]), 0)

    def test_every_workload_has_a_disruption_budget(self):
        budgets, workloads = [], []
        for _, document in manifests():
            if document["kind"] == "PodDisruptionBudget":
                budgets.append(document["spec"]["selector"]["matchLabels"])
                # One that allows no eviction would keep nodes from being emptied.
                self.assertEqual(document["spec"]["maxUnavailable"], 1)
            elif "template" in document["spec"]:
                workloads.append(document["spec"]["template"]["metadata"]["labels"])
        self.assertEqual(len(workloads), 2)
        self.assertCountEqual(budgets, workloads)

    def test_the_programs_take_the_flags(self):
        for program, *flags in commands():
            text = subprocess.run(
                [PROGRAMS[program], "--help"], capture_output=True, text=True, check=True
            ).stdout
            known = set(re.findall(r"--[a-z_]+", text))
            for flag in flags:
                self.assertIn(flag.split("=")[0], known)

    def test_probes_and_ports_are_those_that_the_programs_listen_on(self):
        for pod in pods():
            for container in pod["containers"]:
                ports = {port["containerPort"] for port in container["ports"]}
                for flag in container["command"]:
                    if flag.startswith(("--listen=", "--metrics_listen=")):
                        # Every address of the pod, of both families.
                        host, port = flag.split("=")[1].rsplit(":", 1)
                        self.assertEqual(host, "[::]")
                        self.assertIn(int(port), ports)
                self.assertIn(container["readinessProbe"]["grpc"]["port"], ports)
                # A port that accepts is no proof: the process must answer.
                liveness = container["livenessProbe"]["grpc"]
                self.assertIn(liveness["port"], ports)
                self.assertEqual(liveness["service"], "liveness")

    def test_pods_are_restricted(self):
        for pod in pods():
            self.assertTrue(pod["securityContext"]["runAsNonRoot"])
            for container in pod["containers"]:
                context = container["securityContext"]
                self.assertFalse(context["allowPrivilegeEscalation"])
                self.assertTrue(context["readOnlyRootFilesystem"])
                self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
                self.assertIn("memory", container["resources"]["limits"])


class ContainerfileTest(unittest.TestCase):
    TEXT = pathlib.Path("deploy/Containerfile").read_text()

    def installed_packages(self):
        """What the last stage installs, with all that it depends on."""
        last_stage = self.TEXT[self.TEXT.rindex("FROM ") :]
        packages = re.findall(r"^ {8}([a-z0-9.+-]+) \\$", last_stage, re.MULTILINE)
        self.assertIn("libgrpc++1.51", packages)
        listing = subprocess.run(
            ["apt-cache", "depends", "--recurse", "--installed", "--no-recommends"]
            + ["--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces"]
            + ["--no-enhances", *packages],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return {line for line in listing.splitlines() if re.match(r"[a-z]", line)}

    def test_the_runtime_packages_cover_the_libraries_of_the_programs(self):
        libraries = set()
        for program in PROGRAMS.values():
            output = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
            libraries |= set(re.findall(r"=> (/\S+)", output.stdout))
        self.assertTrue(any("grpc" in library for library in libraries))
        owners = set()
        for library in libraries:
            # Older packages know their files by /lib, which is a link to /usr/lib.
            path = str(pathlib.Path(library).resolve())
            found = subprocess.run(
                ["dpkg", "-S", path, path.removeprefix("/usr")],
                capture_output=True,
                text=True,
                check=False,
            )
            self.assertTrue(found.stdout, path)
            owners.add(found.stdout.split(":")[0])
        self.assertLessEqual(owners, self.installed_packages())

    def test_the_image_does_not_run_as_root(self):
        last_stage = self.TEXT[self.TEXT.rindex("FROM ") :]
        self.assertRegex(last_stage, r"(?m)^USER [1-9]\d*$")


if __name__ == "__main__":
    unittest.main()
