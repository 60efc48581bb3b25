#!/usr/bin/env bash
# Tries README's commands on a bare Debian 12, made with debootstrap in a folder: ./run and then
# ./test, and on a second machine the other way round. Not part of ./test: it needs root, the
# network, and as long as a first build takes.
#
# Usage: tests/fresh_machine/run.sh [OPTIONS] [TARGET...]
#
#   TARGET             what ./test runs; default: one target that needs GoogleTest, one that needs
#                      Python. "all" stands for a ./test without targets
#   --order ORDER      run-test, test-run or both (default)
#   --disk_cache DIR   a Bazel disk cache that the machines share with this one: then they compile
#                      little. Default: none, everything is built from nothing
#   --folder DIR       where the machines are made; default: a temporary folder. It is removed at
#                      the end, unless something failed
#
# A machine gets a clone of HEAD, so commit first. It reaches the network as this one does: package
# archive, resolver, certificates, and the settings of pip, npm, Go and Cargo are copied.
#
# Prints the time of each command, and ends with "N passed, N failed".
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
order=both
disk_cache=
folder=
targets=()

bad_usage() {
  echo "run.sh: $1. Try --help." >&2
  exit 2
}

while (($#)); do
  case $1 in
    -h | --help)
      sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    --order | --disk_cache | --folder)
      (($# > 1)) || bad_usage "$1 needs a value"
      declare "${1#--}=$2"
      shift 2
      ;;
    -*) bad_usage "unknown option $1" ;;
    *)
      targets+=("$1")
      shift
      ;;
  esac
done
case $order in
  both) orders=(run-test test-run) ;;
  run-test | test-run) orders=("$order") ;;
  *) bad_usage "--order $order is none of run-test, test-run and both" ;;
esac
if [[ -n $disk_cache ]]; then
  [[ -d $disk_cache ]] || bad_usage "--disk_cache: there is no folder $disk_cache"
  disk_cache=$(cd "$disk_cache" && pwd)
fi
((${#targets[@]})) || targets=(//base:options_test //tests/architecture:all)
[[ ${targets[*]} != all ]] || targets=()
((EUID == 0)) || bad_usage "only root can do this"
command -v debootstrap >/dev/null || bad_usage "debootstrap is not installed (apt-get install debootstrap)"

if [[ -z $folder ]]; then
  folder=$(mktemp -d /var/tmp/phalanx-fresh.XXXXXX)
else
  mkdir -p "$folder"
  folder=$(cd "$folder" && pwd)
fi
bare=$folder/bare

say() { printf '%(%H:%M:%S)T %s\n' -1 "$*"; }

# URI, release, component and origin of each package archive that this machine uses.
archives() { apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' 'Identifier: Packages' | sort -u; }

make_bare() {
  local mirror
  mirror=$(archives | awk '$2 == "bookworm" && $3 == "main" && $4 == "Debian" { print $1; exit }')
  [[ -n $mirror ]] || bad_usage "this machine has no archive of Debian 12 in /etc/apt (apt-get update?)"
  say "debootstrap"
  debootstrap --variant=minbase bookworm "$bare.new" "$mirror" >"$folder/debootstrap.log" 2>&1 || {
    tail -n 20 "$folder/debootstrap.log"
    exit 1
  }
  archives | awk '$4 == "Debian" { print "deb", $1, $2, $3 }' >"$bare.new/etc/apt/sources.list"
  mv "$bare.new" "$bare"
}

# How this machine reaches the network.
readonly SETTINGS=(/etc/resolv.conf /etc/hosts /etc/apt/apt.conf.d /etc/apt/apt.conf /etc/pip.conf
  /etc/npmrc /usr/etc/npmrc /usr/local/share/ca-certificates "$HOME/.config/pip"
  "$HOME/.config/go" "$HOME/.npmrc" "$HOME/.cargo/config" "$HOME/.cargo/config.toml")
readonly VARIABLES='^((https?|no|all|ftp)_proxy|pip_.*|npm_config_.*|go(proxy|sumdb|nosumdb|noproxy|private|flags)|cargo_(http|net|registries|source)_.*|(ssl|requests|curl|node|pip)_.*(ca|cert).*)='

copy_settings() { # MACHINE
  local path
  for path in "${SETTINGS[@]}"; do
    [[ -e $path ]] || continue
    mkdir -p "$1$(dirname "$path")"
    rm -rf "${1:?}$path"
    cp -rL "$path" "$1$path"
  done
}

# Runs a command on a machine: with processes, mounts and a root of its own.
on_machine() { # MACHINE COMMAND...
  local machine=$1
  shift
  local -a environment=(HOME="$HOME" TERM="${TERM:-dumb}" LANG=C.UTF-8
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
  mapfile -t -O "${#environment[@]}" environment < <(env | grep -iE "$VARIABLES")
  # shellcheck disable=SC2016
  unshare --mount --pid --fork --kill-child --propagation private bash -euc '
    machine=$1 disk_cache=$2
    shift 2
    mount --bind "$machine" "$machine"
    mount --rbind /dev "$machine/dev"
    mount --rbind /sys "$machine/sys"
    mount -t proc proc "$machine/proc"
    if [[ -n $disk_cache ]]; then
      mkdir -p "$machine$HOME/.cache/phalanx/bazel"
      mount --bind "$disk_cache" "$machine$HOME/.cache/phalanx/bazel"
    fi
    mkdir -p "$machine/outside"
    cd "$machine"
    pivot_root . outside
    umount --lazy /outside
    cd "$HOME/phalanx"
    exec env --ignore-environment "$@"
  ' bash "$machine" "$disk_cache" "${environment[@]}" "$@"
}

passed=0
failed=0
try() { # ORDER COMMAND...
  local name=$1 began=$SECONDS code=0
  shift
  say "$name: $*"
  printf '\n$ %s\n' "$*" >>"$folder/$name.log"
  on_machine "$folder/$name" "$@" >>"$folder/$name.log" 2>&1 </dev/null || code=$?
  if ((code == 0)); then
    passed=$((passed + 1))
    say "$name: passed in $((SECONDS - began)) s"
  else
    failed=$((failed + 1))
    say "$name: exit code $code after $((SECONDS - began)) s; the last lines of $folder/$name.log:"
    tail -n 30 "$folder/$name.log"
  fi
}

# Each command ends all its processes, Bazel's server too; so both are one command here.
both() { # ORDER FIRST SECOND
  try "$1" bash -c "$2 && printf '\n%(%H:%M:%S)T first command done\n' -1 && $3"
}

[[ -d $bare ]] || make_bare
readonly QUESTION="How many days are there in a week?"
for name in "${orders[@]}"; do
  machine=$folder/$name
  rm -rf "$machine"
  : >"$folder/$name.log"
  cp -a --reflink=auto "$bare" "$machine"
  copy_settings "$machine"
  git clone --quiet --no-hardlinks "$root" "$machine$HOME/phalanx"
  run="./run '$QUESTION'"
  test="./test ${targets[*]}"
  case $name in
    run-test) both "$name" "$run" "$test" ;;
    test-run) both "$name" "$test" "$run" ;;
  esac
  grep -nE '^(install|build|start|answer|tests:|===|[0-9:]+ first)|passed,|7 days' "$folder/$name.log" | tail -n 40
done

if ((failed == 0)); then rm -rf "$folder"; fi
printf '\n%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
