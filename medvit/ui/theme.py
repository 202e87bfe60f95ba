"""Theme and style: one accent, system fonts, light and dark."""

from pathlib import Path

import gradio as gr

SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
CSS = Path(__file__).with_name("style.css")
SWITCH_THEME = "() => { document.body.classList.toggle('dark'); }"


def theme() -> gr.themes.Base:
    """The theme of all screens."""
    return gr.themes.Base(
        primary_hue="teal", neutral_hue="slate", font=list(SANS), font_mono=list(MONO), radius_size="md"
    ).set(
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_600",  # the theme's own 400 is too pale on white
        body_background_fill_dark="*neutral_950",
        block_border_width="1px",
        block_shadow="none",
        layout_gap="10px",
        block_padding="8px 12px",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        button_primary_background_fill="*primary_700",  # white on the theme's own 500 is hard to read
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        button_secondary_border_color="*neutral_300",
        button_secondary_border_color_dark="*neutral_700",
    )
