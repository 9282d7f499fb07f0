"""{{ cookiecutter.description }}."""

from {{ cookiecutter.package }}.storage import {{ cookiecutter.class_name }}

__all__ = ["{{ cookiecutter.class_name }}"]
