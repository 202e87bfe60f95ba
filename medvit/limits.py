"""What the app takes in, all in one place; the guard enforces it and the screens show it."""

MB = 2**20

PICTURE_BYTES = 20 * MB  # of one picture file
PICTURE_PIXELS = 32_000_000  # of one picture; checked before it is decoded
LARGE_PICTURE = 4_000_000  # pixels from which pictures are decoded one at a time
DICOM_PIXELS = 16_000_000  # of one DICOM file: its values take more room than a picture's
DICOM_BYTES = 100 * MB  # of one DICOM file once inflated
BATCH_FILES = 10_000  # pictures in one batch from a visitor, zips counted by what they hold
BATCH_LOOSE = 1_000  # of them not in a zip: Gradio takes no more in one request
BATCH_BYTES = 500 * MB  # of one batch, unpacked
ZIP_RATIO = 100  # a zip member that shrank further than any picture does is taken for a bomb
FORM_BYTES = PICTURE_BYTES + MB  # body of a request that is kept in memory: a picture, and the form around it
UPLOAD_BYTES = BATCH_BYTES + 4 * MB  # body of an upload, which goes to disk as it comes
UPLOAD_FILES = BATCH_LOOSE  # files in one upload request
FIELD_BYTES = MB  # of an upload that belong to no file, and so stay in memory
MCP_BYTES = 4 * MB  # body of an MCP message, a picture in base64 among them; the package mcp takes no more
BODY_BYTES = 2 * MB  # body of any other request; pictures do not travel in JSON
AT_ONCE = 16  # requests worked on at once, for each model or job
THREADS = 64  # in all
QUEUE = 128  # requests that wait; the next one is told to come back
RUNNING = THREADS + QUEUE  # requests that bypass the queue; the next one is told to come back
UNREAD = 100  # messages that wait for a visitor to read them; an answer takes three or four
UNREAD_IN_ALL = 2_000  # of all visitors; beyond it, those who left most lose theirs
LINGER_SECONDS = 5  # the rest of a body that is too large is thrown away, so that its sender reads why
ERROR_LETTERS = 2_000  # of a sentence that repeats what a visitor sent
SESSIONS = 500  # visitors whose last prediction is remembered
KEEP_SECONDS = 3600  # how long an uploaded file may lie on disk
MODEL_BYTES = 2 * 2**30  # weights held in memory


def in_words() -> str:
    """The limits that a visitor can meet, in one sentence."""
    return (
        f"A picture may have {PICTURE_BYTES // MB} MB and {PICTURE_PIXELS // 10**6} million pixels, "
        f"a batch {BATCH_FILES:,} of them and {BATCH_BYTES // MB} MB; {QUEUE} requests may wait. "
        f"Uploads are deleted within {KEEP_SECONDS * 2 // 3600} hours and kept nowhere else."
    )
