/* SPDX-License-Identifier: Apache-2.0 */
/* The C++ classes: values, ownership, exceptions. Exits 0 when all holds; takes a folder to write in. */
#include <pumit.hpp>

#include <cmath>
#include <cstdio>

namespace
{

int failures;

#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                   \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)

/* The status of the error that a call throws, 0 if it throws none. */
template <typename Call> pumit_status status_of(Call call)
{
    try {
        call();
    } catch (const pumit::error &failure) {
        EXPECT(std::string(failure.what()).size() > 10);
        return failure.status();
    }
    return PUMIT_OK;
}

pumit::config small_vit()
{
    return pumit::config{{"dim", 24},     {"depth", 2},  {"heads", 2},
                         {"hidden", 32},  {"codes", 16}, {"patch", pumit::config::json("[8,8,8]")},
                         {"pool", "mean"}};
}

pumit::config small_tokenizer()
{
    return pumit::config{
        {"channels", pumit::config::json("[8,8]")}, {"codes", 16}, {"code_dim", 8}};
}

/* 8 slices of 4 mm of 32x24 pixels of 1 mm: a ball. */
pumit::volume ball(pumit::context &context)
{
    std::vector<float> voxels;
    for (int d = 0; d < 8; d++)
        for (int h = 0; h < 32; h++)
            for (int w = 0; w < 24; w++)
                voxels.push_back(std::hypot(4.0F * (static_cast<float>(d) - 4),
                                            static_cast<float>(h) - 16,
                                            static_cast<float>(w) - 12) < 10
                                     ? 700.0F
                                     : 20.0F);
    const pumit::volume::affine_matrix affine{0, 0, 1, 0, 0, 1, 0, 0, 4, 0, 0, 0, 0, 0, 0, 1};
    return pumit::volume(context, {8, 32, 24}, 1, voxels, affine);
}

void test_configs()
{
    pumit::config config{{"a.b", 3}, {"c", 0.5}, {"d", true}, {"e", "text"}};
    config.set("f", pumit::config::json("[1,2]")).merge(pumit::config{{"a.g", int64_t{7}}});
    EXPECT(config.get_int("a.b") == 3 && config.get_int("a.g") == 7);
    EXPECT(!(std::fabs(config.get_double("c") - 0.5) > 0));
    EXPECT(config.get_bool("d") && config.get_string("e") == "text");
    EXPECT((config.get_ints("f") == std::vector<int64_t>{1, 2}));
    EXPECT(config.section("a").get_int("b") == 3 && config.get_int("absent", -4) == -4);
    EXPECT(pumit::config::parse(config.to_json()).to_json() == config.to_json());
    EXPECT(status_of([&] { config.get_int("e"); }) == PUMIT_ERROR_INVALID_ARGUMENT);
}

void test_tensors(pumit::context &context)
{
    const int64_t before = context.memory().in_use;
    {
        pumit::tensor tensor(context, {2, 3}, std::vector<float>{0, 1, 2, 3, 4, 5});
        pumit::tensor shared = tensor.share();
        pumit::tensor moved = std::move(tensor);
        EXPECT(tensor.get() == nullptr && moved.get() == shared.get());
        shared.data<float>()[5] = 50;
        EXPECT((moved.read<int32_t>() == std::vector<int32_t>{0, 1, 2, 3, 4, 50}));
        EXPECT((moved.shape() == std::vector<int64_t>{2, 3}) && moved.dtype() == PUMIT_F32);
        EXPECT(!moved.grad());
        EXPECT(pumit::dtype_size(moved.dtype()) == 4 && pumit::version() == "0.1.0");
        EXPECT(pumit::abi_version() == PUMIT_ABI_VERSION);
        EXPECT(status_of([&] { moved.write(std::vector<float>{1}); }) != PUMIT_OK);
        EXPECT(status_of([&] { moved.item(); }) != PUMIT_OK);
        const pumit::tensor alias = pumit::tensor::from_dlpack(context, moved.to_dlpack());
        shared.data<float>()[0] = -1;
        EXPECT(!(std::fabs(alias.read()[0] + 1) > 0));
        bool refused = false;
        try {
            moved.data<double>();
        } catch (const std::invalid_argument &) {
            refused = true;
        }
        EXPECT(refused);
    }
    EXPECT(context.memory().in_use == before);
}

void test_volumes(pumit::context &context, const std::string &folder)
{
    const pumit::volume scan = ball(context);
    EXPECT((scan.shape() == std::array<int64_t, 4>{8, 32, 24, 1}) && scan.anisotropy() == 2);
    EXPECT((scan.spacing() == pumit::spacing{4, 1, 1}));
    EXPECT(pumit::degree_of_anisotropy({INFINITY, 1, 1}) == 5);
    EXPECT(!(std::fabs(scan.voxels()[0] - 20) > 0));
    const pumit::tensor image = scan.to_tensor(context, 3);
    EXPECT((image.shape() == std::vector<int64_t>{1, 8, 32, 24, 3}));
    const std::string path = folder + "/sheet.png";
    pumit::write_png_sheet(path, pumit::tensor(context, PUMIT_F32, {4, 8, 8, 1}), 2);
    EXPECT(pumit::volume::read(context, path).shape()[0] == 1);
    EXPECT(pumit::volume::file_count(context, path) == 1);
    const pumit::dataset images(context, {path, path});
    EXPECT(images.count() == 2 && images.label(0) == -1 && images.volume_at(2) == nullptr);
    EXPECT(images.subset(pumit::config::parse(R"({"labels": 0.5})")).count() == 1);
    EXPECT(status_of([&] { pumit::volume::read(context, folder + "/absent.nii"); }) != PUMIT_OK);
}

void test_networks(pumit::context &context, const std::string &folder)
{
    const pumit::volume scan = ball(context);
    const pumit::vit vit(context, small_vit());
    const pumit::tokenizer tokenizer(context, small_tokenizer());
    const auto [image, spacing] = scan.to_patches(context, vit.channels(), vit.patch());
    const pumit::size3 grid = vit.grid({8, 32, 24}, spacing);
    EXPECT((grid == pumit::size3{4, 4, 3}));
    EXPECT((vit.forward(image, spacing).shape() == std::vector<int64_t>{1, 49, 24}));

    const std::vector<float> embedding = vit.embed(scan).read();
    const pumit::module parameters = vit.module();
    const std::vector<std::string> names = parameters.parameter_names();
    EXPECT(static_cast<int64_t>(names.size()) == parameters.parameter_count());
    int64_t elements = 0;
    for (const std::string &name : names) elements += parameters.parameter(name).count();
    EXPECT(elements == parameters.element_count());
    EXPECT(parameters.parameter(0).shape() == parameters.parameter(names[0]).shape());
    vit.module().save(folder + "/vit.safetensors", {{"data", "synthetic"}});
    EXPECT(pumit::vit::load(context, folder + "/vit.safetensors").embed(scan).read() == embedding);
    pumit::context beside({{"threads", 1}});
    EXPECT(vit.share(beside).embed(scan).read() == embedding);
    EXPECT(tokenizer.share(beside).codes() == tokenizer.codes());
    EXPECT(pumit::model_file_digest(folder + "/vit.safetensors").get_string("checksum").size() ==
           14);
    EXPECT(pumit::model_file_info(folder + "/vit.safetensors").get_string("data") == "synthetic");

    const pumit::tensor tokens = tokenizer.encode(image, spacing);
    EXPECT((tokens.shape() == std::vector<int64_t>{1, 4, 4, 3, 16}));
    EXPECT(tokenizer.decode(tokens, spacing).shape() == image.shape());
    const auto [loss, terms] = tokenizer.loss(image, spacing, 1, 0);
    const double total = terms[PUMIT_TERM_L1] + terms[PUMIT_TERM_PRIOR];
    EXPECT(!(std::fabs(loss.item() - total) > 1e-4));

    const pumit::classifier classifier(vit, {{"classes", 2}});
    EXPECT(!(std::fabs(classifier.predict(scan).read()[1] - 0.5F) > 1e-6F));
    EXPECT(classifier.module().kind() == "classifier" && classifier.backbone() != nullptr);
}

void test_critics(pumit::context &context)
{
    const auto [real, spacing] = ball(context).to_patches(context, 3, {8, 8, 8});
    const pumit::tensor fake(context, PUMIT_F32, real.shape());
    const pumit::discriminator critic(context, {{"channels", pumit::config::json("[16,16]")}});
    EXPECT(critic.forward(real, spacing).shape().back() == 1);
    EXPECT(critic.loss(real, fake, spacing).item() >= 0);
    const pumit::lpips lpips(context, {{"channels", pumit::config::json("[8,8,8,8,8]")}});
    EXPECT(lpips.distance(real, fake).item() > 0 && !(lpips.distance(real, real).item() > 0));
    const pumit::segmenter segmenter(context,
                                     {{"dim", 16},
                                      {"depth", 4},
                                      {"heads", 2},
                                      {"hidden", 24},
                                      {"patch", pumit::config::json("[4,16,16]")},
                                      {"out_indexes", pumit::config::json("[0,1,2,3]")},
                                      {"channels", pumit::config::json("[16,16,16,16]")},
                                      {"full_res_channels", pumit::config::json("[16,16,16]")},
                                      {"classes", 2}});
    const pumit::size3 size = segmenter.stride({1, 1, 1});
    const pumit::tensor image(context, PUMIT_F32, {1, size[0], size[1], size[2], 3});
    const pumit::tensor labels(context, PUMIT_U8, {1, size[0], size[1], size[2]});
    EXPECT(segmenter.forward(image, {1, 1, 1}).count() == 2 * labels.count() &&
           segmenter.classes() == 2);
    EXPECT(segmenter.loss(image, {1, 1, 1}, labels).item() > 0 && segmenter.backbone() != nullptr &&
           !segmenter.adaptive());
    int64_t windows = 0;
    const pumit::label_map labelled = segmenter.segment(
        ball(context), {{"window", pumit::config::json("[8,2,2]")}}, [&](int64_t done, int64_t) {
            windows = done;
            return false;
        });
    EXPECT((labelled.shape() == pumit::size3{8, 32, 24}) && windows > 0);
}

void test_training(pumit::context &context)
{
    const pumit::vit vit(context, small_vit());
    const pumit::tokenizer tokenizer(context, small_tokenizer());
    const auto [image, spacing] = ball(context).to_patches(context, vit.channels(), vit.patch());
    const pumit::tensor visible = pumit::random_visible(context, 1, 48, 0.5, 1);
    std::vector<pumit::volume> scans;
    std::vector<pumit::tensor> images, shown;
    for (int i = 0; i < 2; i++) {
        scans.push_back(ball(context));
        images.emplace_back(pumit_tensor_retain(image.get()));
        shown.emplace_back(pumit_tensor_retain(visible.get()));
    }
    EXPECT((vit.embed_packed(scans).shape() == std::vector<int64_t>{2, vit.dim()}));
    EXPECT(!(std::fabs(vit.mim_loss_packed(tokenizer, images, {spacing, spacing}, shown).item() -
                       vit.mim_loss(tokenizer, image, spacing, visible).item()) > 1e-5));
    pumit::optimizer optimizer(vit.module(), {{"clip_norm", 1.0}});
    std::vector<double> losses;
    for (int step = 0; step < 8; step++) {
        pumit::tensor loss = vit.mim_loss(tokenizer, image, spacing, visible);
        losses.push_back(loss.item());
        loss.backward();
        EXPECT(optimizer.step(2e-3) > 0);
    }
    EXPECT(losses.back() < losses.front() - 0.01 && optimizer.steps() == 8);
    const pumit::scores scores = pumit::classification_scores(
        PUMIT_TASK_CLASSES, 2, {0.9, 0.1, 0.4, 0.6, 0.2, 0.8}, {0, 1, 0});
    EXPECT(!(std::fabs(scores.accuracy - 2.0 / 3) > 1e-12));
    EXPECT(!(std::fabs(scores.auc - 0.5) > 1e-12));
    const std::string report =
        pumit::classification_report(PUMIT_TASK_LABELS, 1, {0.9, 0.2}, {1, 0}, {{"bootstrap", 0}});
    EXPECT(report.find("\"labels\"") != std::string::npos);
}

void test_segmentation_scores(pumit::context &context)
{
    const pumit::volume image = ball(context);
    const auto shape = image.shape();
    std::vector<uint8_t> labels(static_cast<size_t>(shape[0] * shape[1] * shape[2]));
    labels[0] = labels[1] = 1;
    const pumit::label_map reference(context, image, labels);
    labels[1] = 0;
    const pumit::label_map prediction(context, image, labels);
    const auto scores = pumit::segmentation_scores(2, prediction, reference, 0);
    EXPECT(!(std::fabs(scores[1].dice - 2.0 / 3) > 1e-12));
    EXPECT(!(std::fabs(scores[1].surface_dice - 2.0 / 3) > 1e-12));
    EXPECT(!(std::fabs(scores[1].hausdorff95 - 0.95 * image.spacing()[2]) > 1e-9));
    pumit::segmentation_report report({{"tolerance_mm", 0.0}});
    report.add("a", prediction, reference);
    EXPECT(report.to_json().find("\"tolerance_mm\":\t0") != std::string::npos);
    EXPECT(status_of([&] { pumit::segmentation_scores(1, prediction, reference); }) ==
           PUMIT_ERROR_INVALID_ARGUMENT);
}

void test_trainer(pumit::context &context, const std::string &folder)
{
    const pumit::dataset images(context, {folder + "/sheet.png"});
    int calls = 0;
    const pumit::config set{{"output", folder + "/set"}};
    const std::string report = pumit::prepare(context, {folder + "/sheet.png"}, set,
                                              [&](int64_t done, int64_t total, const char *) {
                                                  calls += done == total;
                                                  return false;
                                              });
    EXPECT(calls == 1 && report.find("\"images\":\t1") != std::string::npos);
    EXPECT(pumit::dataset(context, {folder + "/set"}).count() == 1);
    EXPECT(status_of([&] { pumit::prepare(context, {folder}, pumit::config()); }) ==
           PUMIT_ERROR_INVALID_ARGUMENT);
    const pumit::config config{{"recipe", "tokenizer"},
                               {"output", folder + "/run"},
                               {"train.steps", 2},
                               {"train.batch", 1},
                               {"train.tokens", pumit::config::json("[1,2,2]")}};
    pumit::config options = pumit::config::parse(config.to_json());
    options.set("tokenizer", pumit::config::json(small_tokenizer().to_json()));
    pumit::trainer trainer(context, images, nullptr, options);
    int64_t steps = 0;
    EXPECT(trainer.run([&](int64_t step, int64_t, const char *) {
        steps = step;
        return false;
    }));
    EXPECT(steps == 2 && trainer.summary().find("tokenizer") != std::string::npos);
    EXPECT(pumit::tokenizer::load(context, trainer.model_path()).codes() == 16);
    options.set("output", folder + "/thrown");
    pumit::trainer second(context, images, nullptr, options);
    bool thrown = false;
    try {
        second.run([](int64_t, int64_t, const char *) -> bool { throw std::runtime_error("no"); });
    } catch (const std::runtime_error &) {
        thrown = true;
    }
    EXPECT(thrown);
}

} // namespace

int main(int argc, char **argv)
{
    const std::string folder = argc > 1 ? argv[1] : ".";
    try {
        pumit::context context({{"threads", 1}});
        test_configs();
        test_tensors(context);
        test_volumes(context, folder);
        test_networks(context, folder);
        test_critics(context);
        test_training(context);
        test_segmentation_scores(context);
        test_trainer(context, folder);
    } catch (const std::exception &failure) {
        std::fprintf(stderr, "not expected: %s\n", failure.what());
        return 1;
    }
    std::printf("%d failures\n", failures);
    return failures ? 1 : 0;
}
