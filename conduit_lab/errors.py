"""Every exception of the package: `from conduit_lab.errors import ServeError`.

`InputError` and its children mean that the caller's data was wrong; over HTTP they are a 400.
"""

from conduit_lab.core.errors import CompositionError as CompositionError
from conduit_lab.core.errors import ConduitError as ConduitError
from conduit_lab.core.errors import DeadlineExceeded as DeadlineExceeded
from conduit_lab.core.errors import DeviceError as DeviceError
from conduit_lab.core.errors import EndpointError as EndpointError
from conduit_lab.core.errors import ExportError as ExportError
from conduit_lab.core.errors import InputError as InputError
from conduit_lab.core.errors import MissingExtra as MissingExtra
from conduit_lab.core.errors import ModelInputError as ModelInputError
from conduit_lab.core.errors import ModelLoadError as ModelLoadError
from conduit_lab.core.errors import ModelRunError as ModelRunError
from conduit_lab.core.errors import OptimizeError as OptimizeError
from conduit_lab.core.errors import Overloaded as Overloaded
from conduit_lab.core.errors import RemoteDeadlineExceeded as RemoteDeadlineExceeded
from conduit_lab.core.errors import RemoteError as RemoteError
from conduit_lab.core.errors import RemoteInputError as RemoteInputError
from conduit_lab.core.errors import RemoteOverloaded as RemoteOverloaded
from conduit_lab.core.errors import RemoteUnknownName as RemoteUnknownName
from conduit_lab.core.errors import RemoteUnreachable as RemoteUnreachable
from conduit_lab.core.errors import ServeError as ServeError
from conduit_lab.core.errors import StoreError as StoreError
from conduit_lab.core.errors import StreamCancelled as StreamCancelled
from conduit_lab.core.errors import StreamLagged as StreamLagged
from conduit_lab.core.errors import TenantError as TenantError
from conduit_lab.core.errors import TraceError as TraceError
from conduit_lab.core.errors import UnknownName as UnknownName
from conduit_lab.core.errors import UnknownOption as UnknownOption
from conduit_lab.core.errors import VectorInputError as VectorInputError
