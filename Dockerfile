# syntax=docker/dockerfile:1
# The server with its bridges: docker run --network host roomcast
# Host networking, because media is UDP on ports that are chosen per call; recordings go to /data.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        build-essential pkg-config libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin roomcast && cp target/release/roomcast /roomcast

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates fonts-dejavu-core \
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly \
        gstreamer1.0-libav gstreamer1.0-x gstreamer1.0-rtsp libgstrtspserver-1.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --create-home --home-dir /data --shell /usr/sbin/nologin roomcast
COPY --from=build /roomcast /usr/local/bin/roomcast
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/roomcast/
USER roomcast
WORKDIR /data
ENV ADDR=:8080
EXPOSE 8080/tcp
STOPSIGNAL SIGTERM
# Bash is in the base image; curl would be one more package for one request.
HEALTHCHECK --interval=15s --timeout=3s --start-period=5s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [[ $status == 200 ]]"]
ENTRYPOINT ["roomcast"]
CMD ["serve"]
