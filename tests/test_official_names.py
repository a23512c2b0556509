"""Official names: scripts, pickles and options files of others use them, wherever the code lies here."""

import importlib
import json

import golden
import pytest
import yaml

import run_training
from dnnlib import util
from training.augmentation.adaptive import AdaptiveAugment

NAMES = {
    "dnnlib": "EasyDict PathType RunContext SubmitConfig SubmitTarget convert_path get_path_from_template "
    "make_run_dir_path submission submit_config submit_run tflib util",
    "dnnlib.submission": "run_context submit",
    "dnnlib.submission.internal.local": "TargetOptions",
    "dnnlib.submission.run_context": "RunContext",
    "dnnlib.submission.submit": "PathType PlatformExtras SubmitConfig SubmitTarget convert_path "
    "get_path_from_template get_template_from_path get_user_name make_run_dir_path run_wrapper "
    "set_user_name_override submit_run",
    "dnnlib.tflib": "Network Optimizer assert_tf_initialized autosummary convert_images_from_uint8 "
    "convert_images_to_uint8 exp2 flatten init_tf init_uninitialized_vars is_tf_expression lerp lerp_clip log2 "
    "network optimizer run set_vars shape_to_list tfutil",
    "dnnlib.tflib.autosummary": "autosummary save_summaries",
    "dnnlib.tflib.network": "Network",
    "dnnlib.tflib.ops.fused_bias_act": "activation_funcs fused_bias_act",
    "dnnlib.tflib.ops.upfirdn_2d": "conv_downsample_2d downsample_2d filter_2d upfirdn_2d upsample_2d upsample_conv_2d",
    "dnnlib.tflib.optimizer": "Optimizer",
    "dnnlib.tflib.tfutil": "assert_tf_initialized convert_images_from_uint8 convert_images_to_uint8 erfinv exp2 "
    "flatten init_tf init_uninitialized_vars is_tf_expression lerp lerp_clip log2 run set_vars shape_to_list",
    "dnnlib.util": "EasyDict Logger ask_yes_no call_func_by_name copy_files_and_create_dirs format_time "
    "get_dtype_and_ctype get_module_dir_by_obj_name get_module_from_obj_name get_obj_by_name get_obj_from_module "
    "construct_class_by_name get_top_level_function_name is_pickleable is_top_level_function is_url "
    "list_dir_recursively_with_ignore make_cache_dir_path open_url set_cache_dir tuple_product",
    "metrics.frechet_inception_distance": "FID",
    "metrics.inception_score": "IS",
    "metrics.kernel_inception_distance": "KID",
    "metrics.linear_separability": "LS",
    "metrics.metric_base": "DummyMetric MetricBase MetricGroup",
    "metrics.metric_defaults": "metric_defaults",
    "metrics.perceptual_path_length": "PPL",
    "metrics.precision_recall": "PR",
    "pretrained_networks": "gdrive_urls get_path_or_url load_networks",
    "projector": "Projector",
    "training.augment": "AUGPIPE_SPECS AdaptiveAugment AugmentPipe",
    "training.dataset": "SyntheticDataset TFRecordDataset load_dataset",
    "training.loss": "D_logistic D_logistic_r1 D_logistic_r2 D_wgan D_wgan_gp G_logistic_ns_pathreg G_wgan",
    "training.misc": "adjust_dynamic_range apply_mirror_augment convert_to_pil_image create_image_grid load_pkl "
    "open_file_or_url parse_config_for_previous_run save_image_grid save_pkl setup_snapshot_image_grid",
    "training.networks": "D_main G_main G_mapping G_synthesis",
    "training.networks_stylegan": "D_basic G_mapping G_style G_synthesis blur2d downscale2d instance_norm "
    "leaky_relu minibatch_stddev_layer pixel_norm upscale2d",
    "training.networks_stylegan2": "D_stylegan D_stylegan2 G_main G_mapping G_synthesis_stylegan2 "
    "G_synthesis_stylegan_revised minibatch_stddev_layer naive_downsample_2d naive_upsample_2d",
    "training.training_loop": "process_reals training_loop training_schedule",
    # Scripts that others import.
    "dataset_tool": "TFRecordExporter compare create_celeba create_cifar10 create_cifar100 create_from_hdf5 "
    "create_from_image_folders create_from_images create_lsun create_lsun_wide create_mnist create_mnistrgb "
    "create_svhn display execute_cmdline extract info main",
    "run_convert": "main",
    "run_generator": "generate_images main style_mixing_example",
    "run_metrics": "main run",
    "run_projector": "main project_generated_images project_real_images",
    "run_training": "main",
}
NETWORKS = [
    *("training.networks.D_main", "training.networks.G_main", "training.networks.G_mapping"),
    *("training.networks.G_synthesis", "training.networks_stylegan.D_basic", "training.networks_stylegan.G_mapping"),
    *("training.networks_stylegan.G_style", "training.networks_stylegan.G_synthesis"),
    *("training.networks_stylegan2.D_stylegan", "training.networks_stylegan2.D_stylegan2"),
    *("training.networks_stylegan2.G_main", "training.networks_stylegan2.G_mapping"),
    *("training.networks_stylegan2.G_synthesis_stylegan2", "training.networks_stylegan2.G_synthesis_stylegan_revised"),
]


@pytest.mark.parametrize("module", NAMES)
def test_names(module):
    found = importlib.import_module(module)
    assert [name for name in NAMES[module].split() if not hasattr(found, name)] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_bear_their_official_names(name):
    import tensorflow as tf

    network_class = util.get_obj_by_name(name)
    module, _, local = name.rpartition(".")
    assert (network_class.__module__, network_class.__name__) == (module, local)
    assert util.is_top_level_function(network_class) and util.get_top_level_function_name(network_class) == name
    assert tf.keras.utils.get_registered_name(network_class) == f"{module}>{local}"
    assert tf.keras.utils.get_registered_object(f"{module}>{local}") is network_class


def test_no_other_network_is_registered():
    import tensorflow as tf

    for name in NETWORKS:
        util.get_obj_by_name(name)
    objects = tf.keras.utils.get_custom_objects()
    registered = {name for name, value in objects.items() if name.startswith("training.") and hasattr(value, "set_io")}
    former = {  # in the version before
        "training.discriminator_stylegan2>D_stylegan",
        "training.discriminator_stylegan2>D_stylegan2",
        "training.discriminator_stylegan>D_basic",
        "training.synthesis_stylegan2>G_synthesis_stylegan2",
        "training.synthesis_stylegan2>G_synthesis_stylegan_revised",
    }
    official = {">".join(name.rsplit(".", 1)) for name in NETWORKS}
    bases = {"Discriminator", "Generator", "Mapping", "NetworkModel", "Synthesis"}
    bases |= {"_StyleGAN2Discriminator", "_SynthesisNetwork"}
    assert {name for name in registered if name.split(">")[1] not in bases} == official | former


def test_classes_and_names_of_classes():
    """Where a class is named in place of a string, official scripts and ours mean the same."""
    from dnnlib.tflib import Network
    from training import networks_stylegan2

    sizes = {"resolution": 8, "fmap_max": 4}
    net = Network("D", func_name=networks_stylegan2.D_stylegan2, **sizes)
    state = net.__getstate__()
    assert state["build_func_name"] == "D_stylegan2"
    assert "from training.networks_stylegan2 import *" in state["build_module_src"]
    assert type(net.model) is type(Network("D", func_name="training.networks_stylegan2.D_stylegan2", **sizes).model)


def test_data_set_that_is_said_to_be_streamed(capsys):
    from training.data import dataset

    folder = golden.GOLDENS / "dataset" / "tfr_gray16"
    dataset.load_dataset(data_dir=str(folder.parent), tfrecord_dir=folder.name, verbose=True).close()
    assert capsys.readouterr().out.startswith("Streaming data using training.dataset.TFRecordDataset...\n")


# ----------------------------------------------------------------------------
# Official options of the augmentation.


def official_options():
    """All that differ, but for those of a heuristic that needs a validation set."""
    cases = json.loads((golden.ADA_GOLDENS / "options" / "tf_train.json").read_text())
    options = [case["options"]["augment_args"] for case in cases if case["exit_code"] == 0]
    assert {args["class_name"] for args in options} == {"training.augment.AdaptiveAugment"}
    differing = {json.dumps(args): args for args in options}
    return [args for args in differing.values() if args.get("tune_heuristic") in (None, "rt")]


def test_options_that_name_the_augmentation(tmp_path):
    """The official arguments, unchanged, in an options file."""
    data = (f"--data-dir={golden.GOLDENS / 'dataset'}", "--dataset=tfr_rgb32")
    path = tmp_path / "options.yaml"
    for args in official_options():
        path.write_text(yaml.safe_dump({"augment_args": args}))
        run, _ = run_training.parse([*data, "--cfg=auto", f"--options={path}"])
        kwargs = run.kwargs.augment_args
        assert {key: kwargs[key] for key in args} == args
        augment = AdaptiveAugment.of_options(**args)
        assert augment.adaptive == (args.get("tune_heuristic") == "rt")
        assert (augment.pipe is None) == ("apply_func" not in args)


def test_options_that_name_another_augmentation():
    with pytest.raises(ValueError, match="class_name must be 'training.augment.AdaptiveAugment', got 'os.system'"):
        AdaptiveAugment.of_options(class_name="os.system")
    with pytest.raises(ValueError, match="apply_func must be 'training.augment.augment_pipeline', got 'os.system'"):
        AdaptiveAugment.of_options(apply_func="os.system")
