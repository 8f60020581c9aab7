/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file models.hpp
 * Networks for C++17; see pumit.hpp.
 */
#ifndef PUMIT_MODELS_HPP
#define PUMIT_MODELS_HPP

#include <pumit/images.hpp>

namespace pumit
{

/** A network's parameters and configuration: a view, valid as long as the network. */
class module
{
  public:
    explicit module(pumit_module *borrowed) : pointer_(borrowed) {}
    pumit_module *get() const noexcept
    {
        return pointer_;
    }
    std::string kind() const
    {
        return pumit_module_kind(pointer_);
    }
    config configuration() const
    {
        pumit_config *out = nullptr;
        check(pumit_module_config(&out, pointer_));
        return config(out);
    }
    int64_t parameter_count() const
    {
        return pumit_module_parameter_count(pointer_);
    }
    int64_t element_count() const
    {
        return pumit_module_element_count(pointer_);
    }
    /** Published names, in order. */
    std::vector<std::string> parameter_names() const
    {
        std::vector<std::string> out;
        for (int64_t i = 0; i < parameter_count(); i++)
            out.emplace_back(pumit_module_parameter_name(pointer_, i));
        return out;
    }
    tensor parameter(int64_t i) const
    {
        pumit_tensor *out = pumit_module_parameter(pointer_, i);
        if (!out) throw std::out_of_range("no such parameter");
        return tensor(pumit_tensor_retain(out));
    }
    tensor parameter(const std::string &name) const
    {
        pumit_tensor *out = nullptr;
        check(pumit_module_find(&out, pointer_, name.c_str()));
        return tensor(pumit_tensor_retain(out));
    }
    void zero_grad() const
    {
        pumit_module_zero_grad(pointer_);
    }
    void save(const std::string &path, const config &provenance = config()) const
    {
        check(pumit_module_save(pointer_, path.c_str(), provenance.get()));
    }
    /** Gives the number of tensors taken. */
    int64_t load_weights(const std::string &path, const std::string &prefix = "",
                         bool strict = true) const
    {
        int64_t out = 0;
        check(pumit_module_load_weights(pointer_, path.c_str(), prefix.c_str(), strict, &out));
        return out;
    }

    void import_weights(const std::string &path, const config &options = config()) const
    {
        check(pumit_module_import(pointer_, path.c_str(), options.get()));
    }

  private:
    pumit_module *pointer_;
};

inline config model_file_info(const std::string &path)
{
    pumit_config *out = nullptr;
    check(pumit_model_file_info(&out, path.c_str()));
    return config(out);
}

inline config model_file_digest(const std::string &path)
{
    pumit_config *out = nullptr;
    check(pumit_model_file_digest(&out, path.c_str()));
    return config(out);
}

namespace detail
{

/** What all networks have: module(), and calls that give one tensor. */
template <typename T, void (*release)(T *), pumit_module *(*view)(T *)>
class network : public handle<T, release>
{
  public:
    pumit::module module() const
    {
        return pumit::module(view(this->get()));
    }

  protected:
    using handle<T, release>::handle;
    template <typename Call, typename... Arguments>
    tensor result(Call call, Arguments... arguments) const
    {
        pumit_tensor *out = nullptr;
        check(call(&out, this->get(), arguments...));
        return tensor(out);
    }
};

/** What handles stand for, as calls take several of them. */
template <typename Pointer, typename Handle>
std::vector<Pointer> pointers(const std::vector<Handle> &handles)
{
    std::vector<Pointer> out;
    for (const Handle &each : handles) out.push_back(each.get());
    return out;
}

inline size3 three(const int64_t *sizes)
{
    return size3{sizes[0], sizes[1], sizes[2]};
}

} // namespace detail

/** The spatially adaptive convolution. */
class sac_conv
    : public detail::network<pumit_sac_conv, pumit_sac_conv_release, pumit_sac_conv_module>
{
  public:
    struct result_at {
        tensor out;
        pumit::spacing spacing;
        int32_t down;
    };

    sac_conv(context &owner, const config &options)
    {
        make(pumit_sac_conv_create, owner.get(), options.get());
    }
    result_at forward(const tensor &src, const spacing &image_spacing, int32_t down = 0) const
    {
        pumit_tensor *out = nullptr;
        spacing after{};
        int32_t halvings = 0;
        check(pumit_sac_conv_forward(&out, after.data(), &halvings, get(), src.get(),
                                     image_spacing.data(), down));
        return result_at{tensor(out), after, halvings};
    }
    /** Gives the result and its halvings. */
    std::pair<tensor, int32_t> forward_da(const tensor &src, int32_t da, int32_t down = 0) const
    {
        pumit_tensor *out = nullptr;
        int32_t halvings = 0;
        check(pumit_sac_conv_forward_da(&out, &halvings, get(), src.get(), da, down));
        return {tensor(out), halvings};
    }
};

/** Images to soft tokens and back. */
class tokenizer
    : public detail::network<pumit_tokenizer, pumit_tokenizer_release, pumit_tokenizer_module>
{
  public:
    /** Indexed by PUMIT_TERM_*. */
    using loss_terms = std::array<double, PUMIT_TERM_COUNT>;

    explicit tokenizer(context &owner, const config &options = config())
    {
        make(pumit_tokenizer_create, owner.get(), options.get());
    }
    static tokenizer load(context &owner, const std::string &path)
    {
        pumit_tokenizer *out = nullptr;
        check(pumit_tokenizer_load(&out, owner.get(), path.c_str()));
        return tokenizer(out);
    }
    /** The same tokenizer in another context, on the same weights. */
    tokenizer share(context &other) const
    {
        pumit_tokenizer *out = nullptr;
        check(pumit_tokenizer_share(&out, other.get(), get()));
        return tokenizer(out);
    }
    int64_t codes() const
    {
        return pumit_tokenizer_codes(get());
    }
    int64_t channels() const
    {
        return pumit_tokenizer_channels(get());
    }
    size3 patch() const
    {
        return detail::three(pumit_tokenizer_patch(get()));
    }
    tensor encode(const tensor &image, const spacing &steps) const
    {
        return result(pumit_tokenizer_encode, image.get(), steps.data());
    }
    tensor decode(const tensor &tokens, const spacing &steps) const
    {
        return result(pumit_tokenizer_decode, tokens.get(), steps.data());
    }
    tensor reconstruct(const tensor &image, const spacing &steps) const
    {
        return result(pumit_tokenizer_reconstruct, image.get(), steps.data());
    }
    std::pair<tensor, loss_terms> loss(const tensor &image, const spacing &steps,
                                       double quant_weight, double entropy_weight) const
    {
        pumit_tensor *out = nullptr;
        loss_terms terms{};
        check(pumit_tokenizer_loss(&out, terms.data(), get(), image.get(), steps.data(),
                                   quant_weight, entropy_weight));
        return {tensor(out), terms};
    }

    void set_step(int64_t step, int64_t max_steps)
    {
        check(pumit_tokenizer_set_step(get(), step, max_steps));
    }
    double temperature() const
    {
        return pumit_tokenizer_temperature(get());
    }

  private:
    explicit tokenizer(pumit_tokenizer *taken) : network(taken) {}
};

/** The vision transformer. */
class vit : public detail::network<pumit_vit, pumit_vit_release, pumit_vit_module>
{
  public:
    explicit vit(context &owner, const config &options = config())
    {
        make(pumit_vit_create, owner.get(), options.get());
    }
    static vit load(context &owner, const std::string &path)
    {
        pumit_vit *out = nullptr;
        check(pumit_vit_load(&out, owner.get(), path.c_str()));
        return vit(out);
    }
    /** The same transformer in another context, on the same weights. */
    vit share(context &other) const
    {
        pumit_vit *out = nullptr;
        check(pumit_vit_share(&out, other.get(), get()));
        return vit(out);
    }
    int64_t dim() const
    {
        return pumit_vit_dim(get());
    }
    int64_t channels() const
    {
        return pumit_vit_channels(get());
    }
    size3 patch() const
    {
        return detail::three(pumit_vit_patch(get()));
    }
    void set_recompute(bool on)
    {
        pumit_vit_set_recompute(get(), on);
    }
    size3 grid(const size3 &size, const spacing &steps) const
    {
        size3 out{};
        check(pumit_vit_grid(out.data(), get(), size.data(), steps.data()));
        return out;
    }
    tensor forward(const tensor &image, const spacing &steps) const
    {
        return result(pumit_vit_forward, image.get(), steps.data());
    }
    tensor embed(const volume &scan) const
    {
        return result(pumit_vit_embed, scan.get());
    }
    /** (n, dim) of n volumes of any sizes and spacings. */
    tensor embed_packed(const std::vector<volume> &scans) const
    {
        const auto pointers = detail::pointers<const pumit_volume *>(scans);
        return result(pumit_vit_embed_packed, static_cast<int64_t>(scans.size()), pointers.data());
    }
    tensor mim_loss(const tokenizer &teacher, const tensor &image, const spacing &steps,
                    const tensor &visible) const
    {
        return result(pumit_vit_mim_loss, teacher.get(), image.get(), steps.data(), visible.get());
    }
    /** Of tensors of different shapes, each with its spacing and its visible tokens: the mean over all images. */
    tensor mim_loss_packed(const tokenizer &teacher, const std::vector<tensor> &images,
                           const std::vector<spacing> &steps,
                           const std::vector<tensor> &visible) const
    {
        if (steps.size() != images.size() || visible.size() != images.size())
            throw std::invalid_argument("each tensor of images has a spacing and visible tokens");
        std::vector<double> flat;
        for (const spacing &each : steps) flat.insert(flat.end(), each.begin(), each.end());
        const auto from = detail::pointers<pumit_tensor *>(images),
                   shown = detail::pointers<pumit_tensor *>(visible);
        return result(pumit_vit_mim_loss_packed, teacher.get(), static_cast<int64_t>(images.size()),
                      from.data(), flat.data(), shown.data());
    }
    tensor predict(const tensor &image, const spacing &steps, const tensor &visible) const
    {
        return result(pumit_vit_predict, image.get(), steps.data(), visible.get());
    }

  private:
    explicit vit(pumit_vit *taken) : network(taken) {}
};

inline tensor random_visible(context &owner, int64_t n, int64_t length, double mask_ratio,
                             uint64_t seed)
{
    pumit_tensor *out = nullptr;
    check(pumit_vit_random_visible(&out, owner.get(), n, length, mask_ratio, seed));
    return tensor(out);
}

/** A transformer with a classification head. */
class classifier
    : public detail::network<pumit_classifier, pumit_classifier_release, pumit_classifier_module>
{
  public:
    classifier(const vit &backbone, const config &options)
    {
        make(pumit_classifier_create, backbone.get(), options.get());
    }
    static classifier load(context &owner, const std::string &path)
    {
        pumit_classifier *out = nullptr;
        check(pumit_classifier_load(&out, owner.get(), path.c_str()));
        return classifier(out);
    }
    /** The same classifier in another context, on the same weights. */
    classifier share(context &other) const
    {
        pumit_classifier *out = nullptr;
        check(pumit_classifier_share(&out, other.get(), get()));
        return classifier(out);
    }
    /** Borrowed. */
    pumit_vit *backbone() const
    {
        return pumit_classifier_vit(get());
    }
    int64_t classes() const
    {
        return pumit_classifier_classes(get());
    }
    pumit_task task() const
    {
        return pumit_classifier_task(get());
    }
    /** Empty if it is not known. */
    std::string class_name(int64_t c) const
    {
        const char *name = pumit_classifier_class_name(get(), c);
        return name ? name : "";
    }
    tensor forward(const tensor &image, const spacing &steps) const
    {
        return result(pumit_classifier_forward, image.get(), steps.data());
    }
    tensor loss(const tensor &image, const spacing &steps, const std::vector<int64_t> &labels) const
    {
        const int64_t each = task() == PUMIT_TASK_LABELS ? classes() : 1;
        if (static_cast<int64_t>(labels.size()) != image.shape().at(0) * each)
            throw std::invalid_argument("as many labels as images (times classes) are needed");
        return result(pumit_classifier_loss, image.get(), steps.data(), labels.data());
    }
    tensor predict(const volume &scan) const
    {
        return result(pumit_classifier_predict, scan.get());
    }

  private:
    explicit classifier(pumit_classifier *taken) : network(taken) {}
};

/** A transformer with a decoder to full resolution. */
class segmenter
    : public detail::network<pumit_segmenter, pumit_segmenter_release, pumit_segmenter_module>
{
  public:
    segmenter(context &owner, const config &options)
    {
        make(pumit_segmenter_create, owner.get(), options.get());
    }
    static segmenter load(context &owner, const std::string &path)
    {
        pumit_segmenter *out = nullptr;
        check(pumit_segmenter_load(&out, owner.get(), path.c_str()));
        return segmenter(out);
    }
    /** The same segmenter in another context, on the same weights. */
    segmenter share(context &other) const
    {
        pumit_segmenter *out = nullptr;
        check(pumit_segmenter_share(&out, other.get(), get()));
        return segmenter(out);
    }
    /** Borrowed. */
    pumit_vit *backbone() const
    {
        return pumit_segmenter_vit(get());
    }
    int64_t classes() const
    {
        return pumit_segmenter_classes(get());
    }
    bool adaptive() const
    {
        return pumit_segmenter_adaptive(get()) != 0;
    }
    size3 stride(const spacing &steps) const
    {
        size3 out{};
        check(pumit_segmenter_stride(out.data(), get(), steps.data()));
        return out;
    }
    tensor forward(const tensor &image, const spacing &steps) const
    {
        return result(pumit_segmenter_forward, image.get(), steps.data());
    }
    tensor loss(const tensor &image, const spacing &steps, const tensor &labels) const
    {
        return result(pumit_segmenter_loss, image.get(), steps.data(), labels.get());
    }
    /** Called as windows are done; true stops the work. */
    using progress = std::function<bool(int64_t done, int64_t total)>;
    /** A label map on the image's voxels, in bounded memory. What `report` throws stops the work. */
    label_map segment(const volume &image, const config &options = config(),
                      const progress &report = nullptr) const
    {
        struct call_state {
            const progress *report;
            std::exception_ptr thrown;
        } state{&report, nullptr};
        const auto forward = [](void *user, int64_t done, int64_t total) -> int32_t {
            call_state &kept = *static_cast<call_state *>(user);
            try {
                return (*kept.report)(done, total);
            } catch (...) {
                kept.thrown = std::current_exception();
                return 1;
            }
        };
        pumit_label_map *out = nullptr;
        const pumit_status status = pumit_segmenter_segment(&out, get(), image.get(), options.get(),
                                                            report ? +forward : nullptr, &state);
        if (state.thrown) std::rethrow_exception(state.thrown);
        check(status);
        return label_map(out);
    }

  private:
    explicit segmenter(pumit_segmenter *taken) : network(taken) {}
};

/** Scores of patches, high for real images. */
class discriminator : public detail::network<pumit_discriminator, pumit_discriminator_release,
                                             pumit_discriminator_module>
{
  public:
    explicit discriminator(context &owner, const config &options = config())
    {
        make(pumit_discriminator_create, owner.get(), options.get());
    }
    static discriminator load(context &owner, const std::string &path)
    {
        pumit_discriminator *out = nullptr;
        check(pumit_discriminator_load(&out, owner.get(), path.c_str()));
        return discriminator(out);
    }
    tensor forward(const tensor &image, const spacing &steps) const
    {
        return result(pumit_discriminator_forward, image.get(), steps.data());
    }
    tensor loss(const tensor &real, const tensor &fake, const spacing &steps) const
    {
        return result(pumit_discriminator_loss, real.get(), fake.get(), steps.data());
    }
    tensor generator_loss(const tensor &fake, const spacing &steps) const
    {
        return result(pumit_discriminator_generator_loss, fake.get(), steps.data());
    }

  private:
    explicit discriminator(pumit_discriminator *taken) : network(taken) {}
};

/** A perceptual distance of images. */
class lpips : public detail::network<pumit_lpips, pumit_lpips_release, pumit_lpips_module>
{
  public:
    explicit lpips(context &owner, const config &options = config())
    {
        make(pumit_lpips_create, owner.get(), options.get());
    }
    static lpips load(context &owner, const std::string &path)
    {
        pumit_lpips *out = nullptr;
        check(pumit_lpips_load(&out, owner.get(), path.c_str()));
        return lpips(out);
    }
    tensor distance(const tensor &a, const tensor &b) const
    {
        return result(pumit_lpips_distance, a.get(), b.get());
    }

  private:
    explicit lpips(pumit_lpips *taken) : network(taken) {}
};

} // namespace pumit

#endif
