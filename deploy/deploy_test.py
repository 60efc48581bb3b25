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
# What it adds to and takes from the other.
GPU_FOLDER = pathlib.Path("deploy/kubernetes-gpu")
FOLDERS = (FOLDER, GPU_FOLDER)
PROGRAMS = {
    "coordinator": "coordinator/coordinator",
    "worker": "worker/worker",
    "phalanx": "client/phalanx",
}


def manifests(folders=FOLDERS):
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            for document in yaml.safe_load_all(path.read_text()):
                if document["kind"] != "Kustomization":
                    yield path, document


def kustomization(folder):
    return yaml.safe_load((folder / "kustomization.yaml").read_text())


def pods(folders=FOLDERS):
    for _, document in manifests(folders):
        if "template" in document["spec"]:
            yield document["spec"]["template"]["spec"]


def commands(folders=FOLDERS):
    for pod in pods(folders):
        for container in pod["containers"]:
            yield container["command"]


def validate(document):
    kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)


def flags_of(container):
    return dict(flag.split("=", 1) for flag in container["command"][1:])


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
        for folder in FOLDERS:
            listed = set(kustomization(folder)["resources"]) - {"../kubernetes"}
            self.assertEqual({path.name for path, _ in manifests([folder])}, listed)

    def test_the_grace_period_is_longer_than_lame_duck_and_drain(self):
        for pod in pods():
            for container in pod["containers"]:
                flags = flags_of(container)
                end = seconds(flags["--lame_duck"]) + seconds(flags["--drain_timeout"])
                # What a program takes at most to break off the rest.
                self.assertGreaterEqual(pod["terminationGracePeriodSeconds"], end + 5)
                self.assertGreater(seconds(flags["--lame_duck"]), 0)

    def test_every_workload_has_a_disruption_budget(self):
        budgets, workloads = [], []
        for _, document in manifests([FOLDER]):
            if document["kind"] == "PodDisruptionBudget":
                budgets.append(document["spec"]["selector"]["matchLabels"])
                # One that allows no eviction would keep nodes from being emptied.
                self.assertEqual(document["spec"]["maxUnavailable"], 1)
            elif "template" in document["spec"]:
                workloads.append(document["spec"]["template"]["metadata"]["labels"])
        self.assertEqual(len(workloads), 2)
        self.assertCountEqual(budgets, workloads)

    def test_groups_on_gpus_take_the_place_of_those_on_cpus(self):
        by_name = {d["metadata"]["name"]: d for _, d in manifests() if d["kind"] == "StatefulSet"}
        on_cpus, on_gpus = by_name["phalanx-worker"], by_name["phalanx-worker-gpu"]
        # So that service and disruption budget are those of the others.
        self.assertEqual(on_gpus["spec"]["selector"], on_cpus["spec"]["selector"])
        self.assertEqual(on_gpus["spec"]["serviceName"], on_cpus["spec"]["serviceName"])
        removal, model = kustomization(GPU_FOLDER)["patches"]
        removed = yaml.safe_load(removal["patch"])
        self.assertEqual(removed.pop("$patch"), "delete")
        self.assertEqual(removed["kind"], on_cpus["kind"])
        self.assertEqual(removed["metadata"], {"name": on_cpus["metadata"]["name"]})
        # The coordinator's first flag becomes the model that the workers have.
        self.assertEqual(model["target"], {"kind": "Deployment", "name": "phalanx-coordinator"})
        (change,) = yaml.safe_load(model["patch"])
        self.assertEqual(change["path"], "/spec/template/spec/containers/0/command/1")
        (coordinator,) = [c for c in commands([FOLDER]) if c[0] == "coordinator"]
        self.assertTrue(coordinator[1].startswith("--model="))
        ((_, *flags),) = commands([GPU_FOLDER])
        self.assertIn(change["value"], flags)

    def test_a_group_on_gpus_has_one_for_each_rank(self):
        (pod,) = pods([GPU_FOLDER])
        (container,) = pod["containers"]
        flags = flags_of(container)
        self.assertEqual(flags["--device"], "cuda")
        ranks = int(flags["--tp"])
        resources = container["resources"]
        self.assertEqual(resources["limits"]["nvidia.com/gpu"], ranks)
        self.assertEqual(resources["requests"], resources["limits"])
        # A page of metrics for each.
        for rank in range(ranks):
            self.assertIn(9410 + rank, {port["containerPort"] for port in container["ports"]})
        self.assertIn(
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            pod["tolerations"],
        )
        (mount,) = [m for m in container["volumeMounts"] if m["mountPath"] == "/dev/shm"]
        (volume,) = [v for v in pod["volumes"] if v["name"] == mount["name"]]
        self.assertEqual(volume["emptyDir"]["medium"], "Memory")

    def test_loading_may_take_as_long_as_the_worker_lets_it(self):
        (pod,) = pods([GPU_FOLDER])
        (container,) = pod["containers"]
        probe = container["startupProbe"]
        # To join, and again to load.
        self.assertGreaterEqual(
            probe["periodSeconds"] * probe["failureThreshold"],
            2 * seconds(flags_of(container)["--startup_timeout"]),
        )

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
    # The stages by name: what each is made from, and its text.
    STAGES = {
        name: (base, text)
        for base, name, text in re.findall(
            r"^FROM (\S+) AS (\w+)\n(.*?)(?=^FROM |\Z)", TEXT, re.MULTILINE | re.DOTALL
        )
    }
    IMAGES = ("cuda", "cpu")

    def installed_packages(self):
        """What the images' common stage installs, with all that it depends on."""
        _, stage = self.STAGES["runtime"]
        packages = re.findall(r"^ {8}([a-z0-9.+-]+) \\$", stage, re.MULTILINE)
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

    def test_the_images_do_not_run_as_root(self):
        for name in self.IMAGES:
            base, text = self.STAGES[name]
            self.assertEqual(base, "runtime")
            self.assertRegex(text, r"USER [1-9]\d*\n*\Z")

    def test_the_image_without_a_target_is_that_for_cpus(self):
        self.assertEqual(list(self.STAGES)[-1], "cpu")
        self.assertEqual(self.TEXT.count("\nFROM "), len(self.STAGES))

    def test_images_have_their_programs(self):
        for name, worker in {"cuda": "worker:worker", "cpu": "worker:worker_cpu"}.items():
            _, text = self.STAGES[name]
            (builder,) = re.findall(r"COPY --from=(\w+) /programs/ /usr/local/bin/", text)
            _, build = self.STAGES[builder]
            (targets,) = re.findall(r"bazel build (.*) \\\n", build)
            self.assertIn(f"//{worker}", targets.split())
            self.assertEqual("--config=cuda_all" in targets, name == "cuda")

    def test_the_image_for_gpus_has_nvidias_libraries_but_the_drivers(self):
        requirements = pathlib.Path("tools/cuda_runtime_requirements.txt").read_text()
        versions = dict(re.findall(r"^(\S+)==(\S+) --hash=sha256:[0-9a-f]{64}$", requirements, re.M))
        self.assertEqual(set(versions), {"nvidia-nccl-cu13"})
        major, minor, *_ = map(int, versions["nvidia-nccl-cu13"].split("."))
        self.assertGreaterEqual((major, minor), (2, 30))
        _, build = self.STAGES["build_cuda"]
        self.assertIn("--require-hashes", build)
        self.assertIn("libnccl.so.2", build)
        _, image = self.STAGES["cuda"]
        self.assertIn("COPY --from=build_cuda /nvidia/ /usr/local/lib/\nRUN ldconfig\n", image)
        self.assertIn("NVIDIA_VISIBLE_DEVICES=all", image)
        # "utility" brings NVML.
        self.assertIn("NVIDIA_DRIVER_CAPABILITIES=compute,utility", image)


if __name__ == "__main__":
    unittest.main()
