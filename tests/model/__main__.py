"""`python -m tests.model` writes what the model finds into docs/reliability.md."""

from tests.model.page import write

write()
