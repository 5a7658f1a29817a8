#!/usr/bin/env bash
# Runs on the GPU machine, in the checkout: bash .gpu/day.sh [check] ROW ...   Rows as benchmarks/reproduce.py names them.
# MINUTES (8.5) for the rows, JOBS (2) side by side, OPTIONS for every training, TRIAL=1 rehearses. Writes below $OUT.
set -u
out=${OUT:?}; mkdir -p "$out"
python=${PYTHON:-python3}
limit=$((16 * 1000 * 1000))  # bytes of a file that comes back

# A rehearsal runs in the Python at hand; the GPU machine installs the packed wheels first.
if [ -n "${TRIAL:-}" ]; then work=$out/work; else
  work=${TMPDIR:-/tmp}/glmc
  if [ ! -d "$work/site" ]; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$work/site" .gpu/whl/*.whl || exit 1
  fi
  export PYTHONPATH=$work/site
fi
data=$work/data; mkdir -p "$data"
for set in .gpu-*/*/; do [ -d "$set" ] && [ ! -d "$data/$(basename "$set")" ] && cp -r "$set" "$data/"; done
export HF_HUB_OFFLINE=1 HF_HOME=$work/hf PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
{ command -v nvidia-smi >/dev/null && nvidia-smi
  "$python" -c "import sys, torch, timm, accelerate, datasets as d; print(sys.version, *(m.__version__ for m in (torch, timm, accelerate, d)))"
} >"$out/device.txt" 2>&1
tail -2 "$out/device.txt"

if [ "${1:-}" = check ]; then
  shift
  start=$(date +%s)
  "$python" recipes/train.py --epochs 3 --mixed-precision auto --output-dir "$work/check" >"$work/check.log" 2>&1 ||
    { echo "CHECK FAILED"; tail -30 "$work/check.log"; cp "$work/check.log" "$out/"; exit 1; }
  echo "check passed in $(($(date +%s) - start)) s: $(sed -n 3p "$work/check.log")"
fi
[ $# -eq 0 ] && exit 0

"$python" benchmarks/reproduce.py "$@" --data-root "$data" --work "$work/runs" --results "$work/results" --jobs "${JOBS:-2}" \
  --minutes "${MINUTES:-8.5}" --options="${OPTIONS:---export-half}" ${TRIAL:+--trial}
status=$?
find "$work/runs" -name '*.log' | while read -r log; do echo "== $log"; tail -n 3 "$log"; done

# Results, logs, and each exported model with its results; a model above the limit without its training heads.
(cd "$work" && tar czf "$out/logs.tgz" $(find runs -name '*.log' -o -name metrics.jsonl -o -name config.yaml))
[ -d "$work/results" ] && tar czf "$out/results.tgz" -C "$work" results
packed=$work/packed; rm -rf "$packed"; mkdir -p "$packed"
for model in $(cd "$work" && find runs -maxdepth 4 -type d -name model); do
  run=$(dirname "$model"); file=$packed/models-$(basename "$(dirname "$run")")-$(basename "$run").tgz
  tar czf "$file" -C "$work" "$model" "$run/results.json" "$run/config.yaml"
  if [ "$(stat -c %s "$file")" -gt $limit ]; then
    echo "$run: packed without its training heads"
    tar czf "$file" --exclude glmc_heads.safetensors -C "$work" "$model" "$run/results.json" "$run/config.yaml"
  fi
done
# At most 8 files come back: up to 5 models one by one, more of them in one file, the smallest first, up to the limit.
if [ "$(ls "$packed" | wc -l)" -le 5 ]; then cp "$packed"/* "$out/" 2>/dev/null; else
  total=0 list=
  for file in $(ls -Sr "$packed"); do
    total=$((total + $(stat -c %s "$packed/$file")))
    if [ $total -lt $limit ]; then list="$list $file"; else echo "$file: left behind, no room"; fi
  done
  tar cf "$out/models.tar" -C "$packed" $list
fi
ls -l "$out"
exit $status
