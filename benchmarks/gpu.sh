#!/bin/sh
# On a machine with a GPU and without a network: the GPU tests, then their figures, in eight minutes at most.
# `make gpu-bundle` made .gpu/, the packages that such a machine lacks. Results go into $OUT.
cd "$(dirname "$0")/.." || exit
OUT=${OUT:-outputs/gpu}
PYTHON=${PYTHON:-python3}
$PYTHON -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target /tmp/site .gpu/*.whl || exit
export PYTHONPATH=/tmp/site:src PYTHONUNBUFFERED=1
timeout 200 $PYTHON -m pytest -m gpu -o addopts= -o filterwarnings=default -q -p no:cacheprovider tests/test_gpu.py
tests=$?
timeout 260 $PYTHON benchmarks/gpu.py --out "$OUT" "$@"
exit $((tests + $?))
