"""Inputs that hand an uploaded file over unopened, so that `medvit.imaging` alone decides what is decoded."""

from typing import Any

import gradio as gr

from medvit.ui.components.base import variant


def picture_input(**options: Any) -> gr.Image:
    """A gr.Image whose value is the path of the uploaded file."""
    return variant(gr.Image, preprocess=_path)(type="filepath", image_mode=None, **options)


def file_button(label: str, **options: Any) -> gr.UploadButton:
    """A gr.UploadButton whose value is the path of the uploaded file."""
    return variant(gr.UploadButton, preprocess=_path)(label, **options)


def files_input(**options: Any) -> gr.File:
    """A gr.File whose value is the paths of any number of files; Gradio would add an empty file to each."""
    return variant(gr.File, preprocess=_paths)(file_count="multiple", **options)


def _path(_, payload) -> str | None:
    return payload.path if payload else None


def _paths(_, payload) -> list[str]:
    return [file.path for file in payload.root] if payload else []
