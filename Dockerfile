# The clipbase command with ffmpeg: one image for the API, the workers and what runs once. compose.yaml uses it, and
# docs/OPERATIONS.md says how.
#
#   docker build -t clipbase .

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The caches are the builder's own and no part of the image; without them the build only takes longer.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p clipbase-cli \
    && install -D --strip target/release/clipbase /out/clipbase

FROM docker.io/library/debian:bookworm-slim
# What subtitles are burnt in with. DejaVu has Latin, Greek and Cyrillic letters, among others; for Chinese, Japanese
# and Korean ones: --build-arg FONTS="fonts-dejavu-core fonts-noto-cjk"
ARG FONTS="fonts-dejavu-core"
# curl asks /readyz in compose.yaml's health checks.
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates curl ffmpeg $FONTS \
    && rm -rf /var/lib/apt/lists/*
# For `work --youtube`, which is off unless asked for: --build-arg YTDLP_VERSION=2026.10.26
# From PyPI, since a release that is as old as Debian's no longer gets a video.
ARG YTDLP_VERSION=""
RUN [ -z "$YTDLP_VERSION" ] || { apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/yt-dlp \
    && /opt/yt-dlp/bin/pip install --no-cache-dir --disable-pip-version-check "yt-dlp==$YTDLP_VERSION" \
    && ln -s /opt/yt-dlp/bin/yt-dlp /usr/local/bin/; }
# The folder belongs to the user, and so does a new volume that is mounted there.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/clipbase clipbase \
    && install -d -o clipbase -g clipbase -m 0700 /var/lib/clipbase
COPY --from=build /out/clipbase /usr/local/bin/clipbase
USER clipbase
# Local objects, scratch space, and which workers live.
ENV CLIPBASE_DATA_DIR=/var/lib/clipbase
VOLUME /var/lib/clipbase
WORKDIR /var/lib/clipbase
EXPOSE 8080
STOPSIGNAL SIGTERM
# No HEALTHCHECK: `serve` and `work` answer on ports of their own. compose.yaml has one for each.
ENTRYPOINT ["clipbase"]
CMD ["--help"]
