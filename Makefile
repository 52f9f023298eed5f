# Every target but help, clean and those of Docker first makes .venv, or brings it up to date with pyproject.toml. It has
# two stages: what the demo needs (INSTALLED), and on top of it what tests, benchmarks and docs need (DEVELOPMENT).

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEVELOPMENT := $(VENV)/.development
DEMO_EXTRAS := export,serving,playground
DEVELOPMENT_EXTRAS := all,dev
MODEL := fashion
IMAGE := docs/images/ankle-boot.png
PACKAGE :=

# Tests start commands by the hundred: they compile the project once, where an environment forbids it too.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
SHELL := /bin/bash

.PHONY: help setup demo data train serve playground classify serve-docker stop-docker secrets doctor test conformance lint docs soak bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DEVELOPMENT) ## install everything into .venv, including development tools

demo: $(INSTALLED) ## train, export, serve and classify 10,000 images over gRPC and REST
	@$(BIN)/python examples/demo.py

data: $(INSTALLED) ## locate or download Fashion-MNIST
	@$(BIN)/hangtag data

train: $(INSTALLED) ## train and publish the next version of models/fashion
	@$(BIN)/hangtag export --base-path models/$(MODEL)

serve: $(INSTALLED) ## serve models/fashion on ports 8500 (gRPC) and 8501 (REST)
	@$(BIN)/hangtag serve --model_base_path=models/$(MODEL)

playground: $(INSTALLED) ## serve models/fashion and open the playground: http://localhost:8600
	@test -d models/$(MODEL) || $(BIN)/hangtag export --base-path models/$(MODEL)
	@$(BIN)/python examples/playground.py --base-path models/$(MODEL)

# Without MODEL the config file names the models (serving/docker/compose.yaml says which variables there are).
serve-docker: ## serve models/fashion with TensorFlow Serving in Docker, on the same ports
	@$(if $(filter command environment,$(origin MODEL)),MODEL_NAME=$(MODEL)) serving/docker/compose.sh up

stop-docker: ## stop the containers of serve-docker
	@serving/docker/compose.sh down

secrets: ## create certificates, a token and a password for the edge and monitoring
	@serving/docker/make-secrets.sh

classify: $(INSTALLED) ## classify IMAGE=file.png with the running server
	@$(BIN)/hangtag classify $(IMAGE) --model $(MODEL) --top 3

doctor: $(INSTALLED) ## find problems in models/fashion and in the deployment files
	@$(if $(filter command environment,$(origin MODEL)),MODEL_NAME=$(MODEL)) \
	  $(BIN)/hangtag doctor models/$(MODEL) serving/docker/compose.yaml

test: $(DEVELOPMENT) ## run all tests, or those of one package: make test PACKAGE=client
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(if $(PACKAGE),$(wildcard tests/$(PACKAGE) tests/adversarial/$(PACKAGE) $(PACKAGE)))

conformance: $(DEVELOPMENT) ## compare with recorded responses of TensorFlow Serving: make conformance SERVER=HOST:8500,8501
ifdef SERVER
	@$(BIN)/python tests/serving/conformance/replay.py --server $(SERVER) \
	  tests/serving/conformance/corpus.jsonl tests/serving/conformance/edge_cases.jsonl
	@HANGTAG_CONFORMANCE=$(SERVER) $(BIN)/python -m pytest -q tests/serving/test_sdk.py
else
	@$(BIN)/python -m pytest -q tests/serving/test_conformance.py tests/serving/test_sdk.py
endif

lint: $(DEVELOPMENT) ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: $(DEVELOPMENT) ## measure client, server and training, and write the report (ten minutes)
	@test -d models/$(MODEL) || $(BIN)/hangtag export --base-path models/$(MODEL) --epochs 1
	@$(BIN)/python benchmarks/report.py --base-path models/$(MODEL)

docs: $(DEVELOPMENT) ## build the documentation site into build/site, as CI checks it
	@$(BIN)/python docs/generate_commands.py --check
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet && echo "built: open build/site/index.html"

soak: $(DEVELOPMENT) ## long attack tests, then five minutes of full load while versions change
	@HANGTAG_ADVERSARIAL_ROUNDS=1000 HANGTAG_HTTP2_ROUNDS=10 HANGTAG_RESTARTS=20 $(BIN)/python -m pytest -q \
	  --timeout=3600 tests/adversarial tests/serving/server/test_restarts.py tests/serving/grpc tests/serving/http/test_limits.py
	@test -d models/$(MODEL)/1 || $(BIN)/hangtag export --base-path models/$(MODEL) --epochs 1
	@$(BIN)/python benchmarks/soak.py --version-folder models/$(MODEL)/1

clean: ## remove .venv and build files (but no models)
	rm -rf $(VENV) build dist client/*.egg-info .pytest_cache .mypy_cache .ruff_cache

# pip names hundreds of packages; on a terminal one line shows the package that it is at.
define pip_install
set -o pipefail; $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[$(1)]' \
  | if [ -t 1 ]; then awk '/^(Collecting|Installing)/ {printf "\r\033[K  %s %.60s", $$1, $$2; fflush()} END {printf "\r\033[K"}'; \
    else cat >/dev/null; fi
endef

# TensorFlow has wheels for these versions of Python. A python that is found may yet lack venv (Debian packages it
# apart) or be a shim that runs nothing, so each candidate is tried.
$(INSTALLED): pyproject.toml constraints.txt
	@start=$$(date +%s); python=; \
	for candidate in python3 python3.13 python3.12 python3.11; do \
	  if $$candidate -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; \
	  then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "hangtag needs Python 3.11, 3.12 or 3.13 with venv: on Debian or Ubuntu, apt install python3 python3-venv" >&2; \
	  exit 2; \
	fi; \
	echo "installing TensorFlow and the rest of the demo into $(VENV) (one to three minutes)"; \
	$$python -m venv --clear $(VENV) && ($(call pip_install,$(DEMO_EXTRAS))) && \
	mkdir -p build && echo $$(( $$(date +%s) - start )) > build/setup-seconds && touch $@

$(DEVELOPMENT): $(INSTALLED)
	@echo "installing what tests, benchmarks and docs need into $(VENV) (about a minute)"
	@($(call pip_install,$(DEVELOPMENT_EXTRAS))) && touch $@
