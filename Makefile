# Set-up, checks and the demo. `make` alone prints the targets.
#
#   VENV    folder of the virtual environment; every Python version wants its own
#   PYTHON  interpreter to build it with; empty: a Python 3.7 where there is one, else python3
#   MODEL_DIR, RESULTS_DIR, TRAIN_FLAGS, TEST_FLAGS  of the demo: its folders, further flags of its scripts

VENV ?= .venv
PYTHON ?=
MODEL_DIR ?= models/demo
RESULTS_DIR ?= results/demo
TRAIN_FLAGS ?=
TEST_FLAGS ?=

# Quoted, and never an installed script: a path with spaces breaks the first line of those.
RUN = "$(VENV)/bin/python"

.DEFAULT_GOAL := help
.PHONY: help env lint test demo ablation clean

help:  ## print the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

env:  ## build the virtual environment, where it is not up to date
	@bash tools/environment.sh "$(VENV)" "$(PYTHON)"

lint: env  ## run ruff
	$(RUN) -m ruff check .

test: lint  ## run ruff, then every test
	$(RUN) -m pytest

demo: env  ## make the small synthetic data, train, test three snapshots, evaluate: a table and figures
	$(RUN) make_demo_data.py --out data/demo --seed 0
	$(RUN) prepare_data.py annotation --data_root data/demo
	$(RUN) aher_k600_train.py --config demo --model_dir "$(MODEL_DIR)" $(TRAIN_FLAGS)
	$(RUN) aher_k600_test.py --config demo --model_dir "$(MODEL_DIR)" --results_dir "$(RESULTS_DIR)" $(TEST_FLAGS)

ablation: env  ## train and test every variant on new worlds: a table and figures in benchmarks/, hours
	$(RUN) benchmarks/ablation.py

clean:  ## remove the environment and the caches; data, models and results stay
	@if [ -f "$(VENV)/pyvenv.cfg" ]; then rm -rf "$(VENV)"; fi
	rm -rf .pytest_cache .ruff_cache __pycache__ */__pycache__
