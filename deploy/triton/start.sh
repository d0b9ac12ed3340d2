#!/bin/sh
# Starts Triton on the models that come with dicomsvc and on those that were added (/data/models, where it is mounted).
# CONFIG=gpu takes each model's configs/gpu.pbtxt. Nothing is loaded at the start: the role `triton` loads what is enabled.
set -eu
added=${ADDED_MODELS:-/data/models}
set -- --model-repository=/models --model-control-mode=explicit --strict-readiness=false --exit-on-error=false \
  --disable-auto-complete-config --allow-http=false --grpc-address=0.0.0.0 --grpc-port=8001 \
  --allow-metrics=true --metrics-address=0.0.0.0 --metrics-port=8002 "$@"
[ ! -d "$added" ] || set -- "$@" --model-repository="$added"
[ -z "${CONFIG:-}" ] || set -- "$@" --model-config-name="$CONFIG"
exec tritonserver "$@"
