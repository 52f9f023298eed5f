# Every target but help, clean and those of Docker makes .venv first, if it is not there or no longer what pyproject.toml asks for.

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
MODEL := fashion
IMAGE := docs/images/ankle-boot.png

.DEFAULT_GOAL := help
COMPOSE := docker compose -f serving/docker/compose.yaml

.PHONY: help setup demo data train serve classify serve-docker stop-docker secrets doctor test lint soak bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## install everything into .venv

demo: $(INSTALLED) ## train, export, serve and classify 10,000 images over gRPC and REST
	@$(BIN)/python examples/demo.py

data: $(INSTALLED) ## find Fashion-MNIST, or fetch it
	@$(BIN)/python -m hangtag_export.data.fashion_mnist

train: $(INSTALLED) ## train and publish the next version of models/fashion
	@$(BIN)/hangtag export --base-path models/$(MODEL)

serve: $(INSTALLED) ## serve models/fashion on ports 8500 (gRPC) and 8501 (REST)
	@$(BIN)/hangtag serve --model_base_path=models/$(MODEL)

serve-docker: ## serve models/fashion by TensorFlow Serving in Docker, on the same ports
	@$(COMPOSE) up --detach --wait

stop-docker: ## stop what serve-docker started
	@$(COMPOSE) --profile '*' down

secrets: ## make a certificate, a token and a password for compose's edge and monitoring
	@serving/docker/make-secrets.sh

classify: $(INSTALLED) ## name what is on IMAGE=file.png, by the running server
	@$(BIN)/hangtag classify $(IMAGE) --model $(MODEL) --top 3

doctor: $(INSTALLED) ## say what would go wrong with models/fashion and the deployment files
	@$(BIN)/hangtag doctor models/$(MODEL)
	@$(BIN)/hangtag doctor serving/docker/compose.yaml

test: $(INSTALLED) ## run all tests
	@$(BIN)/python -m pytest

lint: $(INSTALLED) ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: $(INSTALLED) ## measure client, server and training, each beside its peers (half an hour)
	@test -d models/$(MODEL) || $(BIN)/hangtag export --base-path models/$(MODEL) --epochs 1
	@$(BIN)/python benchmarks/client.py --base-path models/$(MODEL)
	@$(BIN)/python benchmarks/serving.py
	@$(BIN)/python benchmarks/training.py speed

soak: $(INSTALLED) ## five minutes of full load while versions come and go
	@test -d models/$(MODEL)/1 || $(BIN)/hangtag export --base-path models/$(MODEL) --epochs 1
	@$(BIN)/python benchmarks/soak.py --version-folder models/$(MODEL)/1

clean: ## remove .venv and everything that was built (models stay)
	rm -rf $(VENV) build dist client/*.egg-info .pytest_cache .mypy_cache .ruff_cache

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
	echo "installing into $(VENV) (about a minute)"; \
	$$python -m venv --clear $(VENV) && \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]' && \
	mkdir -p build && echo $$(( $$(date +%s) - start )) > build/setup-seconds && touch $@
