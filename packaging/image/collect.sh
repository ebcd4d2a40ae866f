# Collects in a folder what the image is made of: programs, the libraries they
# are linked with, and what a user who is not root needs. Prints the Debian
# packages that it came from, as PACKAGE|VERSION|ARCHITECTURE, and takes their
# licences along.
#
#   sh collect.sh FOLDER PROGRAM...
set -eu
root=$1
shift

for program in "$@"; do
    if ldd "$program" | grep 'not found' >&2; then
        exit 1
    fi
done
for program in "$@"; do
    echo "$program"
    ldd "$program" | tr ' \t' '\n\n' | grep '^/'
done | sort -u | while read -r file; do
    mkdir -p "$root${file%/*}"
    cp -L "$file" "$root$file"
    # A package's list has a file of the merged /usr under either name; what is
    # in no list was built here.
    dpkg-query --search "$file" "/usr$file" "${file#/usr}" 2> /dev/null | head -n 1 | cut -d : -f 1
done | sort -u | while read -r package; do
    dpkg-query --show --showformat '${Package}|${Version}|${Architecture}\n' "$package" | head -n 1
    mkdir -p "$root/usr/share/doc/$package"
    cp -L "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/copyright"
done

mkdir -p "$root/etc/cedarwall" "$root/run/cedarwall" "$root/var/log/cedarwall" "$root/tmp"
chmod 1777 "$root/tmp"
chmod 0750 "$root/run/cedarwall" "$root/var/log/cedarwall"
chown 5353:5353 "$root/run/cedarwall" "$root/var/log/cedarwall"
printf 'root:x:0:0:root:/:/nologin\ncedarwall:x:5353:5353:cedarwall:/:/nologin\n' > "$root/etc/passwd"
printf 'root:x:0:\ncedarwall:x:5353:\n' > "$root/etc/group"
