#!/usr/bin/env bash
# Fetches llama.cpp (the source package of llama-cpp-python on PyPI has it inside), builds it for this
# machine's processor and compiles llama_driver.cc with it. Once: a second run takes a moment.
#
# Usage: tests/peers/build_llama.sh
#
# Everything goes to ~/.cache/phalanx/llama.cpp (or $PHALANX_CACHE/llama.cpp). Prints a line
# "NAME PATH" for each build: native, as a user would get it; on machines with AMX also no_amx, since
# which of the two is faster differs. Takes about ten minutes of two cores, at low priority.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly VERSION=0.3.36
readonly SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
cache=${PHALANX_CACHE:-$HOME/.cache/phalanx}/llama.cpp/$VERSION
log=$cache/build.log

case ${1:-} in
  "") ;;
  -h | --help)
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
    exit 0
    ;;
  *)
    echo "build_llama.sh: unknown argument $1. Try --help." >&2
    exit 2
    ;;
esac

say() { printf 'llama.cpp: %s\n' "$*" >&2; }
fail() {
  say "failed: $*"
  [[ -s $log ]] && tail -n 20 "$log" >&2
  exit 1
}

# Shows ninja's lines "[12/79] ..." as one line that is written over, or on no terminal every tenth.
progress() { # NAME
  local line count=0
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$log"
    [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]] || continue
    count=$((count + 1))
    if [[ -t 2 ]]; then
      printf '\rllama.cpp: %s, %s of %s files\e[K' "$1" "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" >&2
    elif ((count % 10 == 0)); then
      say "$1, ${BASH_REMATCH[1]} of ${BASH_REMATCH[2]} files"
    fi
  done
  if [[ -t 2 ]]; then printf '\n' >&2; fi
}

fetch() {
  local archive=llama_cpp_python-$VERSION.tar.gz
  [[ -x $cache/venv/bin/ninja ]] || {
    say "installing CMake and Ninja"
    python3 -m venv "$cache/venv" >>"$log" 2>&1 || fail "python3 -m venv"
    "$cache/venv/bin/pip" install --quiet cmake==3.31.6 ninja==1.11.1.4 >>"$log" 2>&1 ||
      fail "pip install cmake ninja"
  }
  [[ -d $cache/source ]] && return
  say "fetching llama-cpp-python $VERSION"
  (cd "$cache" && venv/bin/pip download --quiet --no-deps --no-binary llama-cpp-python \
    "llama-cpp-python==$VERSION" >>"$log" 2>&1) || fail "pip download"
  (cd "$cache" && echo "$SHA256  $archive" | sha256sum --check --quiet) || fail "$archive is another"
  rm -rf "$cache/unpacked"
  mkdir "$cache/unpacked"
  tar -xzf "$cache/$archive" -C "$cache/unpacked" --strip-components=3 \
    "llama_cpp_python-$VERSION/vendor/llama.cpp"
  rm "$cache/$archive"
  mv "$cache/unpacked" "$cache/source"
}

# Builds the library of that name if it is not there, and the driver if its source is a new one.
build() { # NAME C_COMPILER CXX_COMPILER FLAGS
  local name=$1 cc=$2 cxx=$3 flags=$4
  local folder=$cache/$name
  if [[ ! -f $folder/built ]]; then
    say "building $name with $cc"
    "$cache/venv/bin/cmake" -G Ninja -S "$cache/source" -B "$folder" -DCMAKE_BUILD_TYPE=Release \
      -DCMAKE_MAKE_PROGRAM="$cache/venv/bin/ninja" -DCMAKE_C_COMPILER="$cc" \
      -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_C_FLAGS="$flags" -DCMAKE_CXX_FLAGS="$flags" \
      -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=ON -DGGML_CCACHE=OFF -DLLAMA_BUILD_COMMON=OFF \
      -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=OFF \
      -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF >>"$log" 2>&1 || fail "cmake"
    nice -n 10 "$cache/venv/bin/ninja" -C "$folder" -j "$(nproc)" 2>&1 | progress "$name" ||
      fail "the build of $name"
    touch "$folder/built"
  fi
  local driver
  driver=$folder/llama_driver-$(sha256sum "$here/llama_driver.cc" | cut -c 1-12)
  if [[ ! -x $driver ]]; then
    local openmp=() libraries
    mapfile -t libraries < <(find "$folder/vendor" -name '*.a')
    grep -q 'GGML_OPENMP_ENABLED:INTERNAL=ON' "$folder/CMakeCache.txt" && openmp=(-fopenmp)
    "$cxx" -O2 -std=c++17 -I "$cache/source/include" -I "$cache/source/ggml/include" \
      "$here/llama_driver.cc" -o "$driver.new" "$folder/src/libllama.a" \
      "$folder/ggml/src/libggml.a" "$folder/ggml/src/libggml-cpu.a" \
      "$folder/ggml/src/libggml-base.a" "${libraries[@]}" "${openmp[@]}" \
      -lpthread -ldl -lm >>"$log" 2>&1 || fail "the driver of $name"
    mv "$driver.new" "$driver"
  fi
  echo "$name $driver"
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
: >"$log"
fetch
if grep -qw amx_tile /proc/cpuinfo; then
  # gcc 12 drops most of the stores to a tile configuration, so the first tile instruction would end
  # the program.
  command -v clang++ >/dev/null || fail "a machine with AMX needs clang: apt-get install clang"
  build native clang clang++ ""
  build no_amx gcc g++ "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
else
  build native gcc g++ ""
fi
