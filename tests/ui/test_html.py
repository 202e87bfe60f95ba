"""HTML of the screens."""

from medvit.ui import html


def test_values_are_escaped_and_html_is_kept():
    table = html.table(["", "<b>"], [["<i>", html.class_name("a&b")]])
    assert "&lt;b&gt;" in table
    assert "&lt;i&gt;" in table
    assert '<span title="a&amp;b">a&amp;b</span>' in table


def test_a_table_has_headings_notes_and_a_highlighted_row():
    table = html.table(["", "accuracy"], [["cnn", ("95.1%", "(94 to 96)")], ["vit", 3]], "plain", highlight=1)
    assert '<th scope="row">cnn</th><td>95.1% <span class="quiet">(94 to 96)</span></td>' in table
    assert '<tr class="highlight"><th scope="row">vit</th><td>3</td>' in table
    assert "<th " not in html.table([""], [["a"]], row_headings=False)


def test_notes_and_the_status_name_no_folder_of_the_server():
    assert html.note("Save it as /srv/app/data/x.npz") == '<p class="quiet small">Save it as data/x.npz</p>'
    assert "<p>data/x.npz is damaged</p>" in html.status("/srv/app/data/x.npz is damaged")


def test_progress_is_a_bar_of_known_or_unknown_length():
    assert "<progress" not in html.status("done")
    assert '<progress value="2" max="5" aria-label="Files">' in html.status("busy", 2, 5, "Files")
    assert '<progress aria-label="Download">' in html.status("starting", total=0, label="Download")
