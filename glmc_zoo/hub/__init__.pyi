from .export.card import render_card as render_card
from .export.model import (
    GLMC_PAPER as GLMC_PAPER,
)
from .export.model import (
    ExportInfo as ExportInfo,
)
from .export.model import (
    write_heads as write_heads,
)
from .export.run import (
    export_model as export_model,
)
from .export.run import (
    export_run as export_run,
)
from .load.convert import (
    convert_state_dict as convert_state_dict,
)
from .load.convert import (
    read_checkpoint as read_checkpoint,
)
from .load.source import (
    ModelSource as ModelSource,
)
from .load.source import (
    create_model as create_model,
)
from .load.source import (
    open_model as open_model,
)
from .load.source import (
    source_license as source_license,
)
from .load.zoo import (
    PublishedModel as PublishedModel,
)
from .load.zoo import (
    list_models as list_models,
)
from .push.checks import (
    check_card as check_card,
)
from .push.checks import (
    check_login as check_login,
)
from .push.push import (
    PushResult as PushResult,
)
from .push.push import (
    check_push as check_push,
)
from .push.push import (
    model_files as model_files,
)
from .push.push import (
    push_command as push_command,
)
from .push.push import (
    push_folder as push_folder,
)
from .push.push import (
    push_model as push_model,
)
from .push.space import push_space as push_space
from .push.target import PushTarget as PushTarget
