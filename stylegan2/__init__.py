"""The command `stylegan2`; in the wheel also the networks of `demo` and the options files of `configs`."""
