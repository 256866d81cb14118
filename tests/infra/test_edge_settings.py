"""Settings of buckets and the CDN: what does nothing alone, and what would make drafts public."""

import pytest

from lml_live.errors import InvalidInput
from lml_live.infra.config import load_settings

BUCKETS = {"LML_S3_BUCKET": "plans", "LML_S3_REPLICAS": "eu-west-1=plans-eu, us-west-2=plans-us"}


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (BUCKETS | {"LML_BACKUP_BUCKET": "plans"}, "LML_BACKUP_BUCKET is a bucket of layouts"),
        (BUCKETS | {"LML_BACKUP_BUCKET": "plans-us"}, "LML_BACKUP_BUCKET is a bucket of layouts"),
        ({"LML_S3_REPLICAS": BUCKETS["LML_S3_REPLICAS"]}, "LML_S3_REPLICAS does nothing without LML_S3_BUCKET"),
        (BUCKETS | {"LML_CDN_KEY_ID": "K1"}, "LML_CDN_KEY_ID does nothing without LML_CDN_KEY_FILE"),
        (BUCKETS | {"LML_CDN_KEY_ID": "K1", "LML_CDN_KEY_FILE": "k.pem"}, "LML_CDN_BASE_URL, which is not set"),
        ({"LML_PRIVATE_LAYOUTS": "hall,../hall"}, "ids of layouts such as"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(environ: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_settings(environ)
    assert any(message in f"{fault.path} {fault.message}" for fault in caught.value.errors), caught.value.errors


def test_each_bucket_for_itself_is_taken() -> None:
    settings = load_settings(BUCKETS | {"LML_BACKUP_BUCKET": "backups"})
    assert settings.s3_replicas == ("eu-west-1=plans-eu", "us-west-2=plans-us")
