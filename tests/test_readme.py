"""Every Python block of the README runs, in one folder, in the order in which it stands."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(
    r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


def test_the_snippets_run_and_say_what_they_promise(tmp_path):
    outputs = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", block],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for block in BLOCKS
    ]
    assert outputs == [
        "Your name is Alice.\n",
        "4\n",
        "Hello! A greeting\n",
        "4 messages in view\n",
        "",
        "",
    ]
