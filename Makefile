# Two commands do everything, set-up included; the second time they start at once.
#   make train    learn Shakespeare and write some      make train ARGS="novel.txt --chat"
#   make test     prove that everything works
# and a third builds the page that `minigpt2 serve` shows, in a checkout; it needs Node:
#   make page
PYTHON ?= python3
BIN := .venv/bin

.PHONY: train test test-all lint page clean

train: .venv/ready
	@$(BIN)/minigpt2 train $(ARGS)

test: .venv/ready lint
	$(BIN)/python -m pytest $(ARGS)

test-all: .venv/ready lint
	$(BIN)/python -m pytest -m "not gpu and not peers and not long and not released_weights" $(ARGS)

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check --summary=none

PAGE := src/minigpt2/server/static/index.html
INSTALLED := web/node_modules/.package-lock.json

page: $(PAGE)

$(PAGE): $(INSTALLED) web/index.html web/vite.config.js $(shell find web/src web/public -type f)
	cd web && npm run build

# npm writes this file last, so it tells whether what is installed is what is locked.
$(INSTALLED): web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@

# An installed torch that satisfies the range is used; otherwise constraints.txt pins the one taken.
.venv/ready: pyproject.toml constraints.txt scripts/make_venv.py
	$(PYTHON) scripts/make_venv.py
	@touch $@

clean:
	rm -rf .venv build dist
