"""OCI registries: reading what a decision about an image needs, checked byte by byte, and pushing for jilctl.

Who lives here: the HTTP of the distribution and OCI 1.1 protocols with limits for everything a registry can do wrong.
What is read is evidence; whether it is enough is decided in jil.trust, never here.
"""

from jil.observe.registry.access import Access, ClientCertificate, Credential, Credentials
from jil.observe.registry.client import RegistryClient
from jil.observe.registry.errors import NotInRegistry, RegistryError, RegistryLied, RegistryUnknown
from jil.observe.registry.limits import Limits
from jil.observe.registry.push import RegistryPush
from jil.observe.registry.reference import Reference

__all__ = [
    "Access",
    "ClientCertificate",
    "Credential",
    "Credentials",
    "Limits",
    "NotInRegistry",
    "Reference",
    "RegistryClient",
    "RegistryError",
    "RegistryLied",
    "RegistryPush",
    "RegistryUnknown",
]
