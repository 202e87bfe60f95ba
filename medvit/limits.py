"""What the app takes in, all in one place; the guard enforces it and the screens show it."""

MB = 2**20

PICTURE_BYTES = 20 * MB  # of one picture file
PICTURE_PIXELS = 32_000_000  # of one picture; checked before it is decoded
LARGE_PICTURE = 4_000_000  # pixels from which pictures are decoded one at a time
DICOM_PIXELS = 16_000_000  # of one DICOM file: its values take more room than a picture's
DICOM_BYTES = 100 * MB  # of one DICOM file once inflated
UPLOAD_BYTES = PICTURE_BYTES + MB  # body of one upload request: a picture, and the form around it
UPLOAD_FILES = 20  # files in one upload request
BODY_BYTES = 2 * MB  # body of any other request; pictures do not travel in JSON
AT_ONCE = 16  # requests worked on at once, for each model or job
THREADS = 64  # in all
QUEUE = 128  # requests that wait; the next one is told to come back
SESSIONS = 500  # visitors whose last prediction is remembered
KEEP_SECONDS = 3600  # how long an uploaded file may lie on disk
MODEL_BYTES = 2 * 2**30  # weights held in memory


def in_words() -> str:
    """The limits that a visitor can meet, in one sentence."""
    return (
        f"A picture may have {PICTURE_BYTES // MB} MB and {PICTURE_PIXELS // 10**6} million pixels; "
        f"{UPLOAD_FILES} files may come at once and {QUEUE} requests may wait. "
        f"Uploads are deleted within {KEEP_SECONDS * 2 // 3600} hours and kept nowhere else."
    )
