"""Pictures small enough to stand in a test."""

import base64

# One grey pixel.
PNG_BASE64 = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
PNG = base64.b64decode(PNG_BASE64)
PNG_URL = f"data:image/png;base64,{PNG_BASE64}"
