# The demo with the shipped checkpoints, on a CPU:
#
#     docker build -t medvit . && docker run --rm -p 7860:7860 medvit
#
# The CPU builds of torch and torchvision save gigabytes. Name their index (see pytorch.org) to get them:
#
#     docker build -t medvit --build-arg PIP_EXTRA_INDEX_URL=... .
FROM python:3.12-slim

ARG PIP_EXTRA_INDEX_URL
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt

COPY pyproject.toml README.md LICENSE ./
COPY medvit medvit
RUN pip install --no-cache-dir --no-deps .
COPY checkpoints checkpoints

RUN useradd --create-home medvit
USER medvit
ENV MEDVIT_CHECKPOINTS=/app/checkpoints
EXPOSE 7860
HEALTHCHECK --start-period=60s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=5)"]
CMD ["medvit", "app", "--host", "0.0.0.0", "--port", "7860", "--log"]
