"""Write `simple_chat_store.json`, as LlamaIndex's own `SimpleChatStore.persist` does.

llama-index-core 0.14.25 can't persist one with pydantic 2.14, which the tests have: its serializer
hands pydantic an argument too many. So this runs in an environment of its own, from `tests`:

    python -m venv old && old/bin/pip install 'llama-index-core==0.14.25' 'pydantic<2.12'
    PYTHONPATH=. old/bin/python data/write_simple_chat_store.py
"""

from __future__ import annotations

from pathlib import Path

from llama_index.core.storage.chat_store import SimpleChatStore
from llama_index_samples import MESSAGES


def main() -> None:
    written = SimpleChatStore()
    written.set_messages("b", MESSAGES)
    written.set_messages("a 🐈:'*", MESSAGES[:2])
    written.set_messages("none", [])
    written.persist(str(Path(__file__).parent / "simple_chat_store.json"))


if __name__ == "__main__":
    main()
