from .api import (
    demo as demo,
)
from .api import (
    evaluate as evaluate,
)
from .api import (
    export as export,
)
from .api import (
    finetune as finetune,
)
from .api import (
    inspect as inspect,
)
from .api import (
    predict as predict,
)
from .api import (
    push as push,
)
from .api import (
    report as report,
)
from .api import (
    second_stage as second_stage,
)
from .api import (
    train as train,
)
from .data import (
    list_data as list_data,
)
from .data import (
    load_data as load_data,
)
from .data import (
    longtail_counts as longtail_counts,
)
from .data import (
    longtail_indices as longtail_indices,
)
from .hub import (
    create_model as create_model,
)
from .hub import (
    list_models as list_models,
)
from .method import (
    GLMCModel as GLMCModel,
)
from .method import (
    GLMCOutput as GLMCOutput,
)
from .method import (
    GLMCTask as GLMCTask,
)
from .method import (
    MaxNorm as MaxNorm,
)
from .method import (
    Mix as Mix,
)
from .method import (
    MixedViews as MixedViews,
)
from .method import (
    class_weights as class_weights,
)
from .method import (
    cumulative_alpha as cumulative_alpha,
)
from .method import (
    cut_box as cut_box,
)
from .method import (
    draw_mix as draw_mix,
)
from .method import (
    glmc_loss as glmc_loss,
)
from .method import (
    mix_views as mix_views,
)
from .method import (
    register_loss as register_loss,
)
from .method import (
    register_method as register_method,
)
from .method import (
    register_sampler as register_sampler,
)
from .method import (
    sampling_weights as sampling_weights,
)
from .metrics import LongTailMetrics as LongTailMetrics
from .screen import set_verbosity as set_verbosity

__version__: str
