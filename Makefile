# Environment, checks and the demo. `make` alone prints the targets.
#
#   VENV    folder of the virtual environment; use one folder for each Python version
#   PYTHON  interpreter that builds the environment; default: the one that VENV was built with; at first, a Python 3.7
#           if there is one, otherwise python3
#   MODEL_DIR, RESULTS_DIR, TRAIN_FLAGS, TEST_FLAGS  folders of the demo, and further flags for its two scripts
#   CHROMIUM  the browser that `make pictures` uses

VENV ?= .venv
PYTHON ?=
MODEL_DIR ?= models/demo
RESULTS_DIR ?= results/demo
TRAIN_FLAGS ?=
TEST_FLAGS ?=
CHROMIUM ?= chromium

# Only the interpreter is called: if the path has a space, the first line of an installed script does not work.
RUN = "$(VENV)/bin/python"

.DEFAULT_GOAL := help
.PHONY: help env lint test demo pictures ablation clean

help:  ## print the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

env:  ## build the virtual environment, unless it is up to date
	@bash .ci/environment.sh "$(VENV)" "$(PYTHON)"

lint: env  ## run ruff
	$(RUN) -m ruff check .

test: lint  ## run ruff, then all tests
	$(RUN) -m pytest

demo: env  ## make the small synthetic data, train, test three snapshots: a table, a report page, pictures of videos
	$(RUN) prepare_data.py demo --out data/demo --seed 0
	$(RUN) prepare_data.py annotation --data_root data/demo
	$(RUN) aher_k600_train.py --config demo --model_dir "$(MODEL_DIR)" $(TRAIN_FLAGS)
	$(RUN) aher_k600_test.py --config demo --model_dir "$(MODEL_DIR)" --results_dir "$(RESULTS_DIR)" --report $(TEST_FLAGS)
	$(RUN) aher_k600_localize.py data/demo/Kinetics-600/csv_p3d_clip_val_untrim_512 --snapshot "$(MODEL_DIR)" \
	  --annotation data/demo/cvs_records_k600/k600_annotation_json.json \
	  --ground_truth data/demo/k600_val_action.json --first 4 --out "$(RESULTS_DIR)/found"

# The page is taken as it is after ten seconds, in which its figures are drawn.
pictures:  ## after the demo, and with chromium: draw the pictures of the README anew
	cp "$(RESULTS_DIR)/found/pictures/demo_val_0002.png" docs/demo_video.png
	$(CHROMIUM) --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1280,870 \
	  --virtual-time-budget=10000 --screenshot=docs/demo_report.png "file://$(abspath $(RESULTS_DIR))/report/index.html"

ablation: env  ## train and test every variant on new worlds: a table and figures in experiments/; takes hours
	$(RUN) experiments/ablation.py

clean:  ## remove the environment and the caches; data, models and results stay
	@if [ -f "$(VENV)/pyvenv.cfg" ]; then rm -rf "$(VENV)"; fi
	rm -rf .pytest_cache .ruff_cache __pycache__ */__pycache__ */*/__pycache__
