from medvit.ui.server.multipart import MultipartCounter


def part(body: bytes, disposition: bytes) -> bytes:
    return b"--x\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + body + b"\r\n"


def test_bytes_outside_files_are_counted_however_the_body_is_split():
    body = (
        part(b"f" * 5000, b'name="files"; filename="a.png"')
        + part(b"v" * 300, b'name="text"')
        + part(b"f" * 5000, b'name="files"; filename="b.png"')
        + b"--x--\r\n"
    )
    sums = set()
    for step in (1, 7, len(body)):
        form = MultipartCounter(b"multipart/form-data; boundary=x")
        for start in range(0, len(body), step):
            form.write(body[start : start + step])
        sums.add((form.field_bytes, form.parts))
    ((total, parts),) = sums
    assert 300 < total < 700  # the field, and the heads of the parts
    assert parts == 3
    plain = MultipartCounter(b"application/json")
    plain.write(bytes(50))
    assert plain.field_bytes == 50
