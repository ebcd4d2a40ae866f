# Writes what the image is made of as SPDX 2.3 (spdx.github.io/spdx-spec), from
# files in a folder: Cargo.lock, crates.txt (`cargo tree`: what is linked in, and
# its licences) and debian.txt (what collect.sh says).
#
#   sh sbom.sh FOLDER
set -eu
cd "$1"

namespace=$(cat Cargo.lock crates.txt debian.txt | sha256sum | cut -c 1-32)
created=$(date -u -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" +%Y-%m-%dT%H:%M:%SZ)

sed -e 's/ (\*)//' -e 's/ (proc-macro)//' -e 's/ (\/[^|]*)//' crates.txt | sort -u |
awk -v namespace="$namespace" -v created="$created" '
function package(kind, name, version, licence, purl, checksum,    id) {
    id = "SPDXRef-" kind "-" name "-" version
    gsub(/[^A-Za-z0-9.-]/, "-", id)
    gsub(/ *\/ */, " OR ", licence)
    if (licence == "") licence = "NOASSERTION"
    printf "%s    {\n      \"SPDXID\": \"%s\",\n      \"name\": \"%s\",\n      \"versionInfo\": \"%s\",\n", separator, id, name, version
    printf "      \"downloadLocation\": \"NOASSERTION\",\n      \"filesAnalyzed\": false,\n"
    printf "      \"licenseDeclared\": \"%s\",\n", licence
    if (checksum != "") printf "      \"checksums\": [{ \"algorithm\": \"SHA256\", \"checksumValue\": \"%s\" }],\n", checksum
    printf "      \"externalRefs\": [{ \"referenceCategory\": \"PACKAGE-MANAGER\", \"referenceType\": \"purl\", \"referenceLocator\": \"%s\" }]\n    }", purl
    separator = ",\n"
    if (name == "cedarwall") {
        root = id
    } else {
        parts[++count] = id
    }
}
# Cargo.lock: the checksums.
FILENAME == "Cargo.lock" {
    if ($1 == "name") name = $3
    if ($1 == "version") version = $3
    if ($1 == "checksum") { gsub(/"/, "", name); gsub(/"/, "", version); gsub(/"/, "", $3); sums[name "|" version] = $3 }
    next
}
!begun {
    begun = 1
    print "{\n  \"spdxVersion\": \"SPDX-2.3\",\n  \"dataLicense\": \"CC0-1.0\",\n  \"SPDXID\": \"SPDXRef-DOCUMENT\",\n  \"name\": \"cedarwall-image\","
    print "  \"documentNamespace\": \"https://spdx.org/spdxdocs/cedarwall-" namespace "\","
    print "  \"creationInfo\": { \"created\": \"" created "\", \"creators\": [\"Tool: packaging/image/sbom.sh\"] },"
    print "  \"packages\": ["
}
FILENAME == "debian.txt" {
    split($0, field, "|")
    version = field[2]
    gsub(/\+/, "%2B", version)
    package("deb", field[1], field[2], "", "pkg:deb/debian/" field[1] "@" version "?arch=" field[3] "&distro=bookworm")
    next
}
{
    split($0, field, "|")
    split(field[1], word, " ")
    version = substr(word[2], 2)
    package("cargo", word[1], version, field[2], "pkg:cargo/" word[1] "@" version, sums[word[1] "|" version])
}
END {
    print "\n  ],\n  \"relationships\": ["
    printf "    { \"spdxElementId\": \"SPDXRef-DOCUMENT\", \"relationshipType\": \"DESCRIBES\", \"relatedSpdxElement\": \"%s\" }", root
    for (number = 1; number <= count; number++)
        printf ",\n    { \"spdxElementId\": \"%s\", \"relationshipType\": \"DEPENDS_ON\", \"relatedSpdxElement\": \"%s\" }", root, parts[number]
    print "\n  ]\n}"
}' Cargo.lock debian.txt -
