"""Has the models of the protocol's package built when they are used first. To be imported before the package.

It has thousands of models, and builds all of them when it is loaded, some of them many times: half a minute of a processor, for the
few that a test uses. What a model accepts and says does not depend on when it is built.
"""

import pydantic

pydantic.BaseModel.model_config = {"defer_build": True}
_rebuild = pydantic.BaseModel.model_rebuild.__func__


def _rebuild_if_built(cls, *, force=False, _parent_namespace_depth=2, **arguments):
    # The package changes fields of its models and then rebuilds them; who was not built yet will see the change anyway.
    if force and not cls.__pydantic_complete__:
        return None
    return _rebuild(cls, force=force, _parent_namespace_depth=_parent_namespace_depth + 1, **arguments)


pydantic.BaseModel.model_rebuild = classmethod(_rebuild_if_built)
