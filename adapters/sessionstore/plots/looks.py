"""What pictures look like: colours for light and dark, words that can be drawn, figures."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Literal, NamedTuple, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text

__all__ = ["LOOKS", "Look", "Picture", "Theme", "drawable", "finished", "look_of", "prepared"]

Theme: TypeAlias = Literal["auto", "light", "dark"]
"""``"auto"`` has no ground of its own and is readable on white and on black."""

_NAME = 28  # characters


class Look(NamedTuple):
    """The colours of a picture.

    Attributes:
        ground: What it stands on.
        ink: Words, axes.
        band: What is behind; it tells nothing by itself.
        user: What a user says, what is written.
        good: What an assistant says, what is healthy.
        tool: What a tool does, what waits.
        bad: What went wrong.
    """

    ground: str
    ink: str
    band: str
    user: str
    good: str
    tool: str
    bad: str


LOOKS: dict[str, Look] = {
    "auto": Look("none", "#797979", "#80808026", "#3d7bc4", "#2b8a57", "#b26a12", "#d8453b"),
    "light": Look("#ffffff", "#1f2328", "#80808026", "#0550ae", "#0c5c2e", "#8a4a00", "#b3261e"),
    "dark": Look("#15181d", "#e6edf3", "#80808040", "#6cb6ff", "#7fd6a0", "#f0b86a", "#ff9d94"),
}
"""The colours of each theme: at least 3 to 1 to the ground, with ``"auto"`` to white and #111."""


class Picture(Figure):
    """A matplotlib figure that shows itself in a notebook without pyplot; nothing keeps it alive.

    `savefig` writes it into a file.
    """

    def _repr_png_(self) -> bytes:
        """Show a notebook the picture."""
        file = BytesIO()
        self.savefig(file, format="png", dpi=self.dpi, facecolor=self.get_facecolor())
        return file.getvalue()


def look_of(theme: str) -> Look:
    """Give a theme's colours.

    Raises:
        ValueError: There is no such theme.
    """
    if theme not in LOOKS:
        raise ValueError('theme must be "auto", "light" or "dark"')
    return LOOKS[theme]


def prepared(figure: Figure | None, look: Look, height: float) -> Figure:
    """Give the figure to draw into: a new one, of a height in inches, or the caller's."""
    if figure is None:
        figure = Picture(figsize=(11, height), dpi=100, layout="constrained")
    elif not isinstance(figure, Figure):
        raise TypeError(f"figure must be a matplotlib Figure, not {type(figure).__name__}")
    figure.set_facecolor(look.ground)
    return figure


def finished(figure: Figure, look: Look) -> Figure:
    """Have all words of a figure drawn as they are, in the ink of its look."""
    for axes in figure.axes:
        _inked(axes, look)
    for text in figure.findobj(Text):
        if isinstance(text, Text):
            text.set_usetex(False)  # else $ and _ in a tool's name were TeX
            text.set_parse_math(False)
    return figure


def _inked(axes: Axes, look: Look) -> None:
    axes.set_facecolor("none")
    axes.tick_params(colors=look.ink, labelsize=9)
    axes.grid(visible=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(look.ink)
    for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
        text.set_color(look.ink)
    legend: Any = axes.get_legend()
    for text in legend.get_texts() if legend else ():
        text.set_color(look.ink)


def drawable(value: object, room: int = _NAME) -> str:
    """Give a name on one line, with what the fonts have no sign for spelt out.

    Args:
        value: The name.
        room: How many characters of it are shown.

    Returns:
        The name; what a font would show as a box is there as its code.
    """
    text = str.__str__(value) if isinstance(value, str) else str(value)
    families = FontProperties().get_family()
    fonts = [get_font(findfont(FontProperties(family=[family]))) for family in families]
    kept = "".join(_sign(sign, fonts) for sign in text[:room])
    return kept[: 2 * room] + "..." * (len(text) > room or len(kept) > 2 * room)


def _sign(sign: str, fonts: list[Any]) -> str:
    has = sign.isprintable() and any(font.get_char_index(ord(sign)) for font in fonts)
    return (
        sign
        if has
        else sign.encode("ascii", "backslashreplace").decode()
        if (
            ord(sign) > 0x7F  # noqa: PLR2004 - not in ASCII
        )
        else repr(sign)[1:-1]
    )
