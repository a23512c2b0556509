import importlib
import inspect
class EasyDict(dict):
    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None
    def __setattr__(self, name, value): self[name] = value
    def __delattr__(self, name): del self[name]
def get_obj_by_name(name):
    m,f=name.rsplit('.',1)
    return getattr(importlib.import_module(m),f)
