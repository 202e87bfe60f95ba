"""Limits of what the app accepts; the server enforces them and the screens state them."""

MB = 2**20

# Images
IMAGE_BYTES = 20 * MB  # of one image file
IMAGE_PIXELS = 32_000_000  # of one image; checked before it is decoded
LARGE_IMAGE_PIXELS = 2_000_000  # larger images are decoded and resized one at a time in each process
DICOM_PIXELS = 16_000_000  # of one DICOM file, whose values take more memory than those of other images
DICOM_BYTES = 100 * MB  # of one DICOM file after decompression

# Bulk predictions
BULK_FILES = 10_000  # images in one job, counting all entries of zip files
BULK_LOOSE_FILES = 1_000  # of them outside zip files: Gradio accepts no more in one request
BULK_BYTES = 500 * MB  # of one job, unpacked
BULK_SECONDS = 900  # that one job may take
BULK_CPU_SECONDS = 600  # of computing: decoding, and the thread that runs the model
BULK_JOBS = 4  # at once; further ones wait
ZIP_RATIO = 100  # a zip member that was compressed further than any image is treated as a zip bomb

# Requests
FORM_BYTES = IMAGE_BYTES + MB  # body of a request that is kept in memory: an image and the form around it
UPLOAD_BYTES = BULK_BYTES + 4 * MB  # body of an upload, which is written to disk as it arrives
UPLOAD_FILES = BULK_LOOSE_FILES  # files in one upload request
FIELD_BYTES = MB  # of an upload outside its files, which stay in memory
MCP_BYTES = 4 * MB  # body of an MCP message with an image in base64; the package mcp accepts no more
BODY_BYTES = 2 * MB  # body of any other request; JSON contains no images
BODIES_BYTES = 256 * MB  # of all request bodies in memory together
JSON_DEPTH = 32  # nested lists and objects in a JSON body
JSON_ELEMENTS = 30_000  # values in a JSON body; 1,000 uploaded files have about 10,000
TARGET_BYTES = 4_000  # path and query of a request
DRAIN_SECONDS = 5  # to read the rest of a body that is too large, so that the client gets the reason
ERROR_CHARACTERS = 2_000  # of a message that repeats what a visitor sent

# Values from requests that the server keeps
SESSION_HASH_CHARACTERS = 64
EVENT_DATA_BYTES = 16_000  # details of a click or a selection, as JSON

# Time
HEADER_SECONDS = 10  # until the headers of a request are complete
BODY_SECONDS = 20  # until a body is complete, or longer as long as it arrives at BODY_RATE
BODY_RATE = 10_000  # bytes a second
UNATTENDED_SECONDS = 3  # after which a job, or a request in the queue, ends whose client reads no messages
UNREAD_SECONDS = 20  # after which an answer is dropped that its client does not read
SHUTDOWN_SECONDS = 8  # for running jobs to end when the server is stopped
REFUSAL_SECONDS = 1  # before a refusal for too many requests, so that it does not pay to try again at once
LOGIN_SECONDS = 60
LOGIN_ATTEMPTS = 10  # wrong passwords from one address in LOGIN_SECONDS

# Concurrency; shared by address, see ui/server/shares.py
CONNECTIONS = 2_048  # open connections, or three quarters of the descriptors where these are fewer
CONNECTIONS_PER_ADDRESS = 256  # open connections; further ones are closed
CONCURRENCY = 16  # simultaneous requests for each model or job
THREADS = 64  # for all requests together
PENDING_SESSIONS = 1_500  # visitors for whom messages wait; Gradio keeps 2,000
QUEUE = 128  # waiting requests; further ones are told to come back
DIRECT_REQUESTS = THREADS + QUEUE  # requests that bypass the queue; further ones are told to come back
PAGES_PER_ADDRESS = 2  # pages rendered at once for one address; its other requests for pages wait
MCP_REQUESTS = 16  # simultaneous MCP messages; each tool call occupies a thread or two
UNREAD_MESSAGES = 100  # waiting for one visitor to read them; an answer takes three or four
TOTAL_UNREAD_MESSAGES = 2_000  # of all visitors; beyond it, those with the most unread messages lose theirs

# Memory and disk
UPLOADED_FILES = 20_000  # on disk at once
SESSIONS = 500  # visitors whose last prediction is kept
SESSIONS_BYTES = 2**30  # of their predictions together
RETENTION_SECONDS = 3600  # age at which an uploaded file is deleted
CHECKPOINTS = 1_000  # folders that are read when the app starts
MODEL_BYTES = 2 * 2**30  # model weights kept in memory


def describe() -> str:
    """Return the limits that concern a visitor, in two sentences."""
    return (
        f"An image may have {IMAGE_BYTES // MB} MB and {IMAGE_PIXELS // 10**6} million pixels, "
        f"a bulk job {BULK_FILES:,} images and {BULK_BYTES // MB} MB; {QUEUE} requests may wait. "
        f"Uploads are deleted within {RETENTION_SECONDS * 2 // 3600} hours and kept nowhere else."
    )
