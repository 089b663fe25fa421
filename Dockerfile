# Two stages: what installs stays behind. Every requirement comes from the lock file, by hash.
FROM python:3.11.14-slim-trixie AS build
WORKDIR /opt/postil
COPY requirements.lock .
RUN python -I -m venv . && \
    bin/python -I -m pip install --quiet --no-cache-dir --disable-pip-version-check \
      --require-hashes --no-deps --only-binary :all: -r requirements.lock
COPY app source/app
COPY prompts source/prompts
RUN echo /opt/postil/source > "$(bin/python -I -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/postil.pth" && \
    printf '#!/bin/sh\nexec /opt/postil/bin/python -I -m app "$@"\n' > bin/postil && \
    chmod 755 bin/postil && \
    bin/python -I -m compileall -q source

FROM python:3.11.14-slim-trixie AS run
# Debian takes a version away when its successor is there, so none is named.
# hadolint ignore=DL3008
RUN apt-get update && \
    apt-get install --yes --no-install-recommends git && \
    rm -rf /var/lib/apt/lists/* && \
    install --directory --owner 10001 --group 10001 --mode 700 /data
COPY --from=build /opt/postil /opt/postil
ENV PATH=/opt/postil/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 HOME=/data
ENV POSTIL_HOST=0.0.0.0 POSTIL_PORT=8000 POSTIL_DATA_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-I", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["postil"]
CMD ["serve"]
