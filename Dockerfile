#   docker build -t cedarwall .
#   docker run --network host --cap-add NET_ADMIN \
#       -v ./cedarwall.toml:/etc/cedarwall/cedarwall.toml:ro \
#       -v ./policies:/etc/cedarwall/policies:ro cedarwall
#
# The network is the host's, because the wall is: it guards interfaces there.
# As a sidecar: --network container:AGENT in its place, and mode = "sidecar".
# Stopping the container leaves the wall closed; this takes it away:
#
#   docker run --rm --network host --cap-add NET_ADMIN cedarwall down
#
# As narrow as it gets: --cap-drop ALL --cap-add NET_ADMIN
# --cap-add NET_BIND_SERVICE --read-only --tmpfs /run/cedarwall:uid=5353
# but not --security-opt no-new-privileges, which withholds both.
#
# For denials that name the process that asked: --pid host --cap-add SYS_PTRACE
# --cap-add SYS_ADMIN --cap-add DAC_READ_SEARCH; see SECURITY.md.
#
# What is in the image, as SPDX 2.3: /usr/share/doc/cedarwall/sbom.spdx.json, or
#
#   docker build --target sbom --output . .

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build

# Dependencies first, against an empty crate: this layer is rebuilt only when
# they change. Cargo wants every target that the manifest names to be there.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches \
    && printf '//! Empty.\nfn main() {}\n' | tee src/main.rs benches/attribution.rs benches/policy.rs benches/reload.rs > benches/wall.rs \
    && echo '//! Empty.' > src/lib.rs \
    && cargo build --release --locked \
    && rm -r src

COPY src src
COPY nft nft
COPY policies policies
# Younger than what was built from the empty crate, or cargo would keep that.
RUN touch src/main.rs src/lib.rs && cargo build --release --locked
RUN cargo tree --locked --edges normal,build --prefix none --format '{p}|{l}' > crates.txt


# The two programs, the libraries they are linked with, and nothing else: no
# shell, no package manager.
FROM debian:bookworm-slim AS root

RUN apt-get update \
    && apt-get install --yes --no-install-recommends nftables libcap2-bin \
    && rm -rf /var/lib/apt/lists/*

COPY LICENSE /root/usr/share/doc/cedarwall/LICENSE
COPY --from=build /build/target/release/cedarwall /usr/local/bin/cedarwall
COPY --from=build /build/Cargo.lock /build/crates.txt /sbom/
COPY packaging/image /packaging

# The daemon is no root: its file has the capabilities it needs. They are
# permitted, not effective, because a file with effective ones cannot even be
# executed where a container was not given them: `check` and `--version` need
# none. The last three are for naming processes, and are not missed. A folder
# that is copied keeps them, with either of Docker's builders.
RUN sh /packaging/collect.sh /root /usr/sbin/nft /usr/local/bin/cedarwall > /sbom/debian.txt \
    && setcap cap_net_admin,cap_net_bind_service,cap_dac_read_search,cap_sys_ptrace,cap_sys_admin+p /root/usr/local/bin/cedarwall \
    && sh /packaging/sbom.sh /sbom > /root/usr/share/doc/cedarwall/sbom.spdx.json


FROM scratch AS sbom
COPY --from=root /root/usr/share/doc/cedarwall/sbom.spdx.json /


FROM scratch

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cedarwall" \
      org.opencontainers.image.description="A DNS-layer firewall for containers: a Cedar policy decides which names resolve, and the kernel lets nothing else out." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

COPY --from=root /root/ /

USER cedarwall:cedarwall
WORKDIR /etc/cedarwall
VOLUME ["/var/log/cedarwall"]

HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["cedarwall", "status"]

ENTRYPOINT ["cedarwall"]
CMD ["serve", "--config", "/etc/cedarwall/cedarwall.toml"]
