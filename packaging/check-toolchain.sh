#!/bin/sh
# Says in one plain message what this machine lacks to build Noctule; when it lacks nothing, prints the Python to use.
#
#   check-toolchain.sh [--no-venv] [PYTHON]
#
# PYTHON is a command; without it the first fitting one on the PATH is taken. --no-venv leaves the venv module
# out, for builds that pip has already put into an environment. Only shell built-ins, the interpreter and the
# compiler are run, so that it works on the barest machine.

oldest='3.11'
old_enough='import sys; sys.exit(sys.version_info < (3, 11))'
need_venv=yes
if [ "$1" = '--no-venv' ]; then
    need_venv=no
    shift
fi

lacks=''
lack() {
    lacks="$lacks
  - $1"
}

python=''
for candidate in ${1:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if "$candidate" -c "$old_enough" 2>/dev/null; then
        python=$candidate
        break
    fi
done

# The distributions name their packages after the command: python3-dev, python3.12-dev.
name=${python:-python3}
name=${name##*/}
case $name in
    python3*) ;;
    *) name=python3 ;;
esac

if [ -z "$python" ]; then
    lack "Python $oldest or newer, with its header files and its venv module${1:+ (tried: $1)}"
    compiler=${CC:-cc}
else
    if [ $need_venv = yes ] && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        lack "Python's venv module"
    fi
    compiler=${CC:-$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("CC") or "cc")')}
fi

# $compiler is split on purpose: it may carry options, as in CC="gcc -pthread".
compiles() {
    # shellcheck disable=SC2086
    printf '#include <%s>\n' "$1" | $compiler ${2:+-I"$2"} -x c -fsyntax-only - >/dev/null 2>&1
}

if compiles stdio.h; then
    works=yes
else
    works=no
    lack "a C compiler and the C library's header files (tried: $compiler)"
fi
if [ -n "$python" ]; then
    headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    if { [ $works = yes ] && ! compiles Python.h "$headers"; } || [ ! -f "$headers/Python.h" ]; then
        lack "Python's header files (Python.h, looked for in $headers)"
    fi
fi

if [ -n "$lacks" ]; then
    message="Noctule cannot be built here yet. This machine lacks:$lacks
Install it with one of these, then give the same command again:
  Debian, Ubuntu:  apt-get install gcc libc6-dev $name $name-dev $name-venv
  Fedora:          dnf install gcc $name $name-devel
  Alpine:          apk add gcc musl-dev python3 python3-dev"
    printf '%s\n' "$message" >&2
    exit 1
fi
printf '%s\n' "$python"
