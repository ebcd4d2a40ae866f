#   docker build -t cedarwall .
#   docker run --network host --cap-add NET_ADMIN \
#       -v ./cedarwall.toml:/etc/cedarwall/cedarwall.toml:ro \
#       -v ./policies:/etc/cedarwall/policies:ro cedarwall
#
# The network is the host's, because the wall is: it guards interfaces there.
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

RUN apt-get update \
    && apt-get install --yes --no-install-recommends libcap2-bin \
    && rm -rf /var/lib/apt/lists/*

COPY src src
COPY nft nft
COPY policies policies
# Younger than what was built from the empty crate, or cargo would keep that.
RUN touch src/main.rs src/lib.rs && cargo build --release --locked

# The daemon is no root: its file has the capabilities it needs. They are
# permitted, not effective, because a file with effective ones cannot even be
# executed where a container was not given them: `check` and `--version` need
# none. The other three are for naming processes, and are not missed. Set here, for a change in a later layer would store the file twice;
# BuildKit copies them along (Docker's deprecated legacy builder loses them, and
# the daemon then says that CAP_NET_ADMIN is missing).
RUN setcap cap_net_admin,cap_net_bind_service,cap_dac_read_search,cap_sys_ptrace,cap_sys_admin+p target/release/cedarwall


FROM debian:bookworm-slim

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="cedarwall" \
      org.opencontainers.image.description="A DNS-layer firewall for containers: a Cedar policy decides which names resolve, and the kernel lets nothing else out." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

RUN apt-get update \
    && apt-get install --yes --no-install-recommends nftables \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 5353 cedarwall \
    && useradd --uid 5353 --gid cedarwall --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin cedarwall \
    && install -d -o cedarwall -g cedarwall -m 0750 /run/cedarwall /var/log/cedarwall

COPY LICENSE /usr/share/doc/cedarwall/LICENSE
COPY --from=build /build/target/release/cedarwall /usr/local/bin/cedarwall

USER cedarwall:cedarwall
WORKDIR /etc/cedarwall
VOLUME ["/var/log/cedarwall"]

HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["cedarwall", "status"]

ENTRYPOINT ["cedarwall"]
CMD ["serve", "--config", "/etc/cedarwall/cedarwall.toml"]
