"""The manifests and the image description hold true of the Kubernetes API and of the programs as built."""

import copy
import pathlib
import re
import subprocess
import unittest

import jsonschema
import kubernetes_validate
import yaml

KUBERNETES_VERSION = "1.32"
FOLDER = pathlib.Path("deploy/kubernetes")
# What it adds to and takes from the other.
GPU_FOLDER = pathlib.Path("deploy/kubernetes-gpu")
HOSTS_FOLDER = pathlib.Path("deploy/kubernetes-several-hosts")
FOLDERS = (FOLDER, GPU_FOLDER, HOSTS_FOLDER)
PROGRAMS = {
    "coordinator": "coordinator/coordinator",
    "worker": "worker/worker",
    "phalanx": "client/phalanx",
}


# LeaderWorkerSet is no part of Kubernetes: what these manifests use of leaderworkerset.x-k8s.io/v1. The
# templates of its pods are checked as pods.
LEADER_WORKER_SET = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "leaderworkerset.x-k8s.io/v1"},
        "kind": {"const": "LeaderWorkerSet"},
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["leaderWorkerTemplate"],
            "properties": {
                "replicas": {"type": "integer"},
                "startupPolicy": {"enum": ["LeaderCreated", "LeaderReady"]},
                "leaderWorkerTemplate": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["workerTemplate"],
                    "properties": {
                        "size": {"type": "integer", "minimum": 1},
                        "restartPolicy": {
                            "enum": ["RecreateGroupOnPodRestart", "RecreateGroupAfterStart", "None"]
                        },
                        "leaderTemplate": {"type": "object"},
                        "workerTemplate": {"type": "object"},
                    },
                },
            },
        },
    },
}


def manifests(folders=FOLDERS):
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            for document in yaml.safe_load_all(path.read_text()):
                if document["kind"] != "Kustomization":
                    yield path, document


def kustomization(folder):
    return yaml.safe_load((folder / "kustomization.yaml").read_text())


def templates_of(document):
    """The templates of pods in a manifest; a leader's comes first."""
    spec = document["spec"]
    if "template" in spec:
        return [spec["template"]]
    group = spec.get("leaderWorkerTemplate", {})
    return [group[key] for key in ("leaderTemplate", "workerTemplate") if key in group]


def pods(folders=FOLDERS):
    for _, document in manifests(folders):
        for template in templates_of(document):
            yield template["spec"]


def commands(folders=FOLDERS):
    for pod in pods(folders):
        for container in pod["containers"]:
            yield container["command"]


def validate(document):
    if document["kind"] == "LeaderWorkerSet":
        jsonschema.validate(document, LEADER_WORKER_SET)
        for template in templates_of(document):
            # Its name is the controller's to choose.
            metadata = {"name": "rank", **template["metadata"]}
            validate({"apiVersion": "v1", "kind": "Pod", **template, "metadata": metadata})
        return
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
        self.assertLessEqual(
            {"Deployment", "StatefulSet", "Service", "LeaderWorkerSet", "NetworkPolicy"}, kinds
        )

    def test_a_misspelt_field_does_not(self):
        for _, document in manifests():
            broken = copy.deepcopy(document)
            broken["spec"]["replicaz"] = 1
            with self.assertRaises(jsonschema.ValidationError):
                validate(broken)

    def test_a_misspelt_field_of_a_rank_does_not(self):
        ((_, document),) = [
            found for found in manifests([HOSTS_FOLDER]) if found[1]["kind"] == "LeaderWorkerSet"
        ]
        for key in ("leaderTemplate", "workerTemplate"):
            broken = copy.deepcopy(document)
            broken["spec"]["leaderWorkerTemplate"][key]["spec"]["container"] = []
            with self.assertRaises(jsonschema.ValidationError):
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

    def check_removal(self, patch):
        """Of the groups of ../kubernetes, which another folder's take the place of."""
        ((_, groups),) = [
            found for found in manifests([FOLDER]) if found[1]["kind"] == "StatefulSet"
        ]
        removed = yaml.safe_load(patch["patch"])
        self.assertEqual(removed.pop("$patch"), "delete")
        self.assertEqual(removed["kind"], groups["kind"])
        self.assertEqual(removed["metadata"], {"name": groups["metadata"]["name"]})

    def test_groups_on_gpus_take_the_place_of_those_on_cpus(self):
        by_name = {d["metadata"]["name"]: d for _, d in manifests() if d["kind"] == "StatefulSet"}
        on_cpus, on_gpus = by_name["phalanx-worker"], by_name["phalanx-worker-gpu"]
        # So that service and disruption budget are those of the others.
        self.assertEqual(on_gpus["spec"]["selector"], on_cpus["spec"]["selector"])
        self.assertEqual(on_gpus["spec"]["serviceName"], on_cpus["spec"]["serviceName"])
        removal, model = kustomization(GPU_FOLDER)["patches"]
        self.check_removal(removal)
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

    def test_groups_over_several_hosts_take_the_place_of_those_of_one_pod(self):
        (removal,) = kustomization(HOSTS_FOLDER)["patches"]
        self.check_removal(removal)
        by_kind = {d["kind"]: d for _, d in manifests([HOSTS_FOLDER])}
        group = by_kind["LeaderWorkerSet"]
        # A leader is ready when its ranks have joined.
        self.assertEqual(group["spec"]["startupPolicy"], "LeaderCreated")
        leader, rank = (template["metadata"]["labels"] for template in templates_of(group))
        selectors = {
            (d["kind"], d["metadata"]["name"]): d["spec"]["selector"]
            for _, d in manifests([FOLDER])
            if d["kind"] in ("Service", "PodDisruptionBudget")
        }
        # Coordinators find leaders only, which have the service and the budget of the others.
        service = selectors["Service", "phalanx-worker"].items()
        self.assertLessEqual(service, leader.items())
        self.assertFalse(service <= rank.items())
        budget = selectors["PodDisruptionBudget", "phalanx-worker"]["matchLabels"].items()
        self.assertLessEqual(budget, leader.items())
        rank_budget = by_kind["PodDisruptionBudget"]["spec"]
        self.assertEqual(rank_budget["maxUnavailable"], 1)
        self.assertLessEqual(rank_budget["selector"]["matchLabels"].items(), rank.items())
        self.assertFalse(rank_budget["selector"]["matchLabels"].items() <= leader.items())

    def test_all_ranks_of_several_hosts_have_one_command_line(self):
        first, second = commands([HOSTS_FOLDER])
        self.assertEqual(first, second)
        flags = dict(flag.split("=", 1) for flag in first[1:])
        # What LeaderWorkerSet tells each container.
        self.assertEqual(flags["--rank"], "$(LWS_WORKER_INDEX)")
        self.assertEqual(flags["--world"], "$(LWS_GROUP_SIZE)")
        host, port = flags["--leader"].rsplit(":", 1)
        self.assertEqual(host, "$(LWS_LEADER_ADDRESS)")
        leader, rank = pods([HOSTS_FOLDER])
        (container,) = leader["containers"]
        self.assertIn(int(port), {p["containerPort"] for p in container["ports"]})
        for pod in (leader, rank):
            (container,) = pod["containers"]
            (mount,) = [m for m in container["volumeMounts"] if m["name"] == "rank-tls"]
            # With a subPath, a certificate that is renewed would never arrive.
            self.assertNotIn("subPath", mount)
            for flag in ("--rank_tls_cert", "--rank_tls_key", "--rank_tls_ca"):
                self.assertEqual(str(pathlib.Path(flags[flag]).parent), mount["mountPath"])
            (volume,) = [v for v in pod["volumes"] if v["name"] == "rank-tls"]
            self.assertEqual(volume["secret"]["defaultMode"], 0o440)
            self.assertEqual(pod["securityContext"]["fsGroup"], pod["securityContext"]["runAsUser"])

    def test_the_network_policy_lets_in_ranks_coordinators_and_metrics(self):
        by_kind = {d["kind"]: d for _, d in manifests([HOSTS_FOLDER])}
        policy = by_kind["NetworkPolicy"]["spec"]
        (label,) = policy["podSelector"]["matchLabels"].items()
        for template in templates_of(by_kind["LeaderWorkerSet"]):
            self.assertIn(label, template["metadata"]["labels"].items())
        ranks, coordinators, metrics = policy["ingress"]
        # The ports of what they exchange are the system's to choose.
        self.assertNotIn("ports", ranks)
        self.assertEqual(ranks["from"], [{"podSelector": {"matchLabels": dict([label])}}])
        flags = flags_of(next(pods([HOSTS_FOLDER]))["containers"][0])
        self.assertEqual(
            coordinators["ports"], [{"port": int(flags["--listen"].rsplit(":", 1)[1])}]
        )
        self.assertEqual(
            metrics["ports"], [{"port": int(flags["--metrics_listen"].rsplit(":", 1)[1])}]
        )
        ((_, deployment),) = [
            found for found in manifests([FOLDER]) if found[1]["kind"] == "Deployment"
        ]
        self.assertLessEqual(
            coordinators["from"][0]["podSelector"]["matchLabels"].items(),
            deployment["spec"]["template"]["metadata"]["labels"].items(),
        )

    def test_loading_may_take_as_long_as_the_worker_lets_it(self):
        for pod in (*pods([GPU_FOLDER]), next(pods([HOSTS_FOLDER]))):
            self.check_startup(pod)

    def check_startup(self, pod):
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
                # A rank that is no leader listens for nobody but who gathers metrics.
                serves = "readinessProbe" in container
                for flag in container["command"]:
                    if flag.startswith(("--listen=", "--metrics_listen=")):
                        # Every address of the pod, of both families.
                        host, port = flag.split("=")[1].rsplit(":", 1)
                        self.assertEqual(host, "[::]")
                        if serves or flag.startswith("--metrics_listen="):
                            self.assertIn(int(port), ports)
                if not serves:
                    self.assertNotIn("livenessProbe", container)
                    continue
                self.assertIn(container["readinessProbe"]["grpc"]["port"], ports)
                # A port that accepts is no proof: the process must answer.
                liveness = container["livenessProbe"]["grpc"]
                self.assertIn(liveness["port"], ports)
                self.assertEqual(liveness["service"], "liveness")
        without = [pod for pod in pods() if "readinessProbe" not in pod["containers"][0]]
        self.assertEqual(without, list(pods([HOSTS_FOLDER]))[1:])

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
