"""Certificates that ranks prove to each other, made by the openssl command when a test needs them."""

import pathlib
import subprocess

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def _request(certificate, key, name, *arguments):
    subprocess.run(
        ["openssl", "req", "-x509", *_KEY, "-keyout", key, "-out", certificate]
        + ["-subj", f"/CN={name}", "-days", "1", *arguments],
        check=True,
        capture_output=True,
    )


class Authority:
    """An authority of a test's own."""

    def __init__(self, folder, name):
        self._folder = pathlib.Path(folder)
        self._name = name
        self.certificate = self._folder / f"{name}.crt"
        self._key = self._folder / f"{name}.key"
        _request(self.certificate, self._key, name, "-addext", "keyUsage=critical,keyCertSign")

    def issue(self, name):
        """Issues a certificate, or another one under the same name, and returns a worker's flags for it."""
        certificate, key = (self._folder / f"{self._name}-{name}.{end}" for end in ("crt", "key"))
        _request(
            certificate,
            key,
            name,
            *["-CA", self.certificate, "-CAkey", self._key],
            *["-addext", "basicConstraints=critical,CA:FALSE"],
            *["-addext", "extendedKeyUsage=serverAuth,clientAuth"],
        )
        return [
            *["--rank_tls_cert", str(certificate)],
            *["--rank_tls_key", str(key)],
            *["--rank_tls_ca", str(self.certificate)],
        ]
