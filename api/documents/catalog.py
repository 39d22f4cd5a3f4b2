"""What instances are made of: flavors, images, keypairs."""

from pydantic import Field

from api.documents.document import Document


class FlavorDocument(Document):
    """A flavor."""

    id: str
    name: str
    core: int
    memory: int = Field(description="bytes")
    mode: str
    multi_queue: int
    policy: str
    extra: dict[str, str]
    created: str
    updated: str
    deleted: str | None
    version: int


class ImageDocument(Document):
    """An image."""

    id: str
    project_id: str
    name: str
    description: str
    checksum: str
    format: str
    size: int = Field(description="bytes")
    virtual_size: int = Field(description="bytes")
    arch: str
    created: str
    updated: str
    deleted: str | None
    version: int


class KeypairDocument(Document):
    """A keypair."""

    id: str
    project_id: str
    name: str
    public_key: str
    fingerprint: str
    created: str
    updated: str
    deleted: str | None
    version: int


class PrivateKeypair(KeypairDocument):
    """A keypair that was made here."""

    private_key: str | None = Field(None, description="OpenSSH format; told this once and never kept")


class BlobDocument(Document):
    """What an upload has become."""

    checksum: str
    size: int
    format: str
    virtual_size: int
