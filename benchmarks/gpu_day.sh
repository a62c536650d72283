#!/usr/bin/env bash
# Measure in ten minutes all that a CUDA GPU changes, and leave one JSON and the documents' tables:
#
#     benchmarks/gpu_day.sh OUT            needs .venv with `make bench-packages`, and no internet
#     DRY=1 benchmarks/gpu_day.sh OUT      the same commands with little work, for a machine without
#
# DATA=FOLDER          prepared by `trainer prepare`, for the notebook's five epochs; else drawn ones
# PHOTOGRAPHS=FOLDER   JPEGs whose masks are compared with those of the CPU; else drawn ones
# PYTHON=COMMAND       instead of .venv/bin/python
#
# A step that fails or takes too long ends alone: gpu_day.json says which, and OUT/STEP.log why.
set -u
cd "$(dirname "$0")/.."
out=$(mkdir -p "${1:?usage: benchmarks/gpu_day.sh OUT}" && cd "$1" && pwd)
if [ -n "$(ls -A "$out")" ] && [ ! -f "$out/steps.tsv" ]; then
    echo "$out holds something else, of which some would be deleted: name an empty folder" >&2
    exit 2
fi
python=${PYTHON:-.venv/bin/python}
photographs=${PHOTOGRAPHS:+--photographs $PHOTOGRAPHS}
device=cuda images=200 seconds=3 callers="1 8 32 64" generators=4 lesions=400 train_seconds=6
quick=() sizes=() recipe=(-e '') patience=1
if [ -n "${DRY:-}" ]; then
    device=auto images=3 seconds=0.3 callers="1 4" generators=2 lesions=12 train_seconds=0.1
    patience=10 # a busy machine proves as much
    quick=(--images 32 --sides 48 64 --width 4 --matrix-side 64)
    sizes=(--batches 1 2)
    recipe=(-e 's/^width = .*/width = 4/' -e 's/size = 256/size = 32/')
fi

step() { # NAME LIMIT_S COMMAND...; its output becomes OUT/NAME.log, its end a line of steps.tsv
    local name=$1 limit=$((patience * $2)) left=$((580 * patience - SECONDS))
    local began=$SECONDS code=0
    limit=$((left < 1 ? 1 : left < limit ? left : limit))
    shift 2
    echo "$(date +%T) $name"
    timeout --kill-after=10 "$limit" "$@" > "$out/$name.log" 2>&1 || code=$?
    printf '%s\t%s\t%s\n' "$name" "$code" "$((SECONDS - began))" >> "$out/steps.tsv"
}

rm -f "$out"/*.json "$out"/*.log "$out/steps.tsv"
rm -rf "$out/run" "$out/data"
# Recording of the graphs and pinned memory, each batch size beside the CPU's answer.
step graphs 60 "$python" -m pytest -q -rs -p no:cacheprovider tests/model_core/backends/test_cuda.py
# shellcheck disable=SC2086 # words on purpose, here and below
step agreement 90 "$python" -m benchmarks.agreement $photographs --limit "$images" \
    --engines pytorch-fp32 pytorch-bf16 --device "$device" --out "$out/agreement.json"
for precision in bf16 fp32; do
    step "network-$precision" 40 "$python" -m benchmarks.ceiling --engine "pytorch-$precision" \
        --seconds "$seconds" "${sizes[@]}"
done
step service 190 "$python" -m benchmarks --servers service --engines pytorch-bf16 null \
    --callers $callers --open-loop --generators "$generators" --rounds 2 --seconds "$seconds" \
    --warmup 1 --out "$out/service"
step loops 80 "$python" -m benchmarks.training --rounds 2 --seconds "$train_seconds" \
    "${quick[@]}" --out "$out/loops.json"
data=${DATA:-}
if [ -z "$data" ]; then
    data=$out/data
    recipe+=(-e /^datasets/d)
    step draw 40 "$python" -m trainer prepare --layout drawn --count "$lesions" --out "$data"
fi
sed "${recipe[@]}" trainer/configs/notebook.toml > "$out/notebook.toml"
step notebook 110 "$python" -m trainer train "$out/notebook.toml" --data "$data" --out "$out/run"
step scores 30 "$python" -m trainer evaluate "$out/run" --data "$data" --part val
exec "$python" -m benchmarks.gpu_day "$out"
