#!/bin/sh
# Builds the Debian package: noctule_VERSION-1_ARCH.deb, with all that it needs beyond Debian's own Python.
#
#   packaging/debian/build.sh [--python /usr/bin/python3] [--wheel FILE] [FOLDER]
#
# It is for the Debian release that it is built on, with that release's Python (12: 3.11, 13: 3.13). Debian's own
# python3-trio and python3-argon2 are too old in Debian 12, so the dependencies come from pip, into a virtual
# environment under /usr/lib/noctule that nothing else on the machine sees.
#
# Needed: dpkg-deb, python3-venv, python3-pip, and without --wheel gcc, libc6-dev and python3-dev. FOLDER is where the
# package is put (default: dist). DEBFULLNAME and DEBEMAIL say who builds it.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
python=/usr/bin/python3
wheel=
while [ $# -gt 0 ]; do
    case $1 in
        --python) python=$2; shift 2 ;;
        --wheel) wheel=$2; shift 2 ;;
        -*) echo "build.sh: unknown option $1" >&2; exit 2 ;;
        *) break ;;
    esac
done
out=${1:-$source/dist}
mkdir -p "$out"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
prefix=$root/usr/lib/noctule
umask 022

version=$(sed -n 's/^__version__.* = "\(.*\)"$/\1/p' "$source/broker/_version.py")
release=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
next=$("$python" -c 'import sys; print("%d.%d" % (sys.version_info[0], sys.version_info[1] + 1))')
architecture=$(dpkg --print-architecture)
revision=1
maintainer="${DEBFULLNAME:-The Noctule developers} <${DEBEMAIL:-noctule@localhost}>"
libc=$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)

if [ -z "$wheel" ]; then
    # A copy, so that the build leaves nothing in the tree.
    mkdir "$work/source"
    for part in pyproject.toml setup.py MANIFEST.in README.md LICENSE broker plugins _speedups packaging; do
        cp -R "$source/$part" "$work/source/"
    done
    find "$work/source" -name '*.so' -delete
    "$python" -m pip --disable-pip-version-check wheel --quiet --no-deps --wheel-dir "$work/wheel" "$work/source"
    wheel=$(echo "$work"/wheel/*.whl)
fi

"$python" -m venv --without-pip "$prefix"
"$python" -m pip --disable-pip-version-check --python "$prefix/bin/python" install --quiet --no-compile \
    --no-warn-script-location "${wheel}[jwt,http]"
# What is left out knows the folder that this was built in.
find "$prefix/bin" -mindepth 1 ! -name 'python*' -delete
sed -i '/^command = /d' "$prefix/pyvenv.cfg"
find "$prefix" -name direct_url.json -delete -o -name RECORD -delete -o -name REQUESTED -delete
if command -v strip >/dev/null; then
    find "$prefix/lib" -name '*.so*' -type f -exec strip --strip-unneeded {} +
fi

install -D -m 755 "$here/noctule" "$root/usr/bin/noctule"
install -D -m 644 "$here/../systemd/noctule.service" "$root/usr/lib/systemd/system/noctule.service"
install -D -m 644 "$here/../systemd/noctule.socket" "$root/usr/lib/systemd/system/noctule.socket"
install -D -m 644 "$here/../systemd/noctule.sysusers" "$root/usr/lib/sysusers.d/noctule.conf"
install -D -m 644 "$here/../systemd/noctule.tmpfiles" "$root/usr/lib/tmpfiles.d/noctule.conf"
install -D -m 644 "$here/../systemd/noctule.logrotate" "$root/etc/logrotate.d/noctule"
install -D -m 644 "$here/../systemd/noctule.toml" "$root/etc/noctule/noctule.toml"
install -D -m 644 "$here/../systemd/conf.d-README" "$root/etc/noctule/conf.d/README"

# The program of the package itself writes its completions and its manual.
noctule() {
    "$prefix/bin/python" -I -B "$@"
}
install -d "$root/usr/share/bash-completion/completions" "$root/usr/share/zsh/vendor-completions" \
    "$root/usr/share/fish/vendor_completions.d" "$root/usr/share/man/man1" "$root/usr/share/doc/noctule"
noctule -m noctule completion bash >"$root/usr/share/bash-completion/completions/noctule"
noctule -m noctule completion zsh >"$root/usr/share/zsh/vendor-completions/_noctule"
noctule -m noctule completion fish >"$root/usr/share/fish/vendor_completions.d/noctule.fish"
noctule -m noctule.cli.manual | gzip -9n >"$root/usr/share/man/man1/noctule.1.gz"
install -m 644 "$here/copyright" "$root/usr/share/doc/noctule/copyright"
gzip -9nc "$source/CHANGELOG.md" >"$root/usr/share/doc/noctule/changelog.gz"
gzip -9n >"$root/usr/share/doc/noctule/changelog.Debian.gz" <<END
noctule ($version-$revision) unstable; urgency=medium

  * Built from the release $version; changelog.gz says what is new in it.

 -- $maintainer  $(date -R -u -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}")
END
"$python" -m pip --disable-pip-version-check --python "$prefix/bin/python" freeze --exclude noctule \
    >"$root/usr/share/doc/noctule/bundled-packages.txt"

# What running it has left; postinst compiles for the Python that it finds.
find "$prefix" -name __pycache__ -prune -exec rm -rf {} +

install -d "$root/DEBIAN"
size=$(du -sk "$root" | cut -f1)
sed -e "s/@VERSION@/$version-$revision/" -e "s/@MAINTAINER@/$maintainer/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@PYTHON@/$release/" -e "s/@NEXT@/$next/" \
    -e "s/@LIBC@/$libc/" -e "s/@SIZE@/$size/" "$here/control.in" >"$root/DEBIAN/control"
(cd "$root" && find etc -type f | sed 's,^,/,' | LC_ALL=C sort) >"$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m 755 "$here/$script" "$root/DEBIAN/$script"
done
(cd "$root" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"

package=$out/noctule_$version-${revision}_$architecture.deb
dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >/dev/null
echo "$package"
