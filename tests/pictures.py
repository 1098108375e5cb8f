"""What to look for in a figure, for tests that draw."""

from __future__ import annotations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


def is_on_paper(figure: Figure) -> bool:
    """Whether all that is drawn, texts included, lies inside the figure."""
    drawn = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
    width_in, height_in = figure.get_size_inches()
    return bool(drawn.x0 >= 0 and drawn.y0 >= 0 and drawn.x1 <= width_in and drawn.y1 <= height_in)


def text_on(figure: Figure) -> str:
    """All texts of a figure, one a line."""
    return "\n".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))
