/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file core.hpp
 * Errors, options, contexts and tensors for C++17; see pumit.hpp.
 */
#ifndef PUMIT_CORE_HPP
#define PUMIT_CORE_HPP

#include <pumit/pumit.h>

#include <array>
#include <cstddef>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace pumit
{

/** A failed call: what() says what went wrong and where, status() is one of PUMIT_ERROR_*. */
class error : public std::runtime_error
{
  public:
    explicit error(pumit_status status) : std::runtime_error(message(status)), status_(status) {}
    pumit_status status() const noexcept
    {
        return status_;
    }

  private:
    static std::string message(pumit_status status)
    {
        return std::string(pumit_status_name(status)) + ": " + pumit_last_error();
    }
    pumit_status status_;
};

/** Throws error unless `status` is PUMIT_OK. */
inline void check(pumit_status status)
{
    if (status != PUMIT_OK) throw error(status);
}

/** Release of the library at run time, "0.1.0". */
inline std::string version()
{
    return pumit_version();
}

/** Binary interface of the library at run time; PUMIT_ABI_VERSION is that of these headers. */
inline int32_t abi_version()
{
    return pumit_abi_version();
}

/** Bytes of one element. */
inline int64_t dtype_size(pumit_dtype dtype)
{
    return pumit_dtype_size(dtype);
}

/** {slice, row, column} in mm; slice is infinite for 2D. */
using spacing = std::array<double, 3>;
/** Sizes along D, H, W. */
using size3 = std::array<int64_t, 3>;

namespace detail
{

/** A unique_ptr to a handle: the base of every class. */
template <typename T, void (*release)(T *)> class handle
{
  public:
    T *get() const noexcept
    {
        return pointer_.get();
    }

  protected:
    handle() = default;
    explicit handle(T *pointer) : pointer_(pointer) {}
    /** Calls a function whose first argument receives the new handle. */
    template <typename Call, typename... Arguments> void make(Call call, Arguments... arguments)
    {
        T *out = nullptr;
        check(call(&out, arguments...));
        pointer_.reset(out);
    }

  private:
    struct deleter {
        void operator()(T *pointer) const noexcept
        {
            release(pointer);
        }
    };
    std::unique_ptr<T, deleter> pointer_;
};

inline std::string take(char *text)
{
    const std::unique_ptr<char, void (*)(void *)> owned(text, pumit_free);
    return std::string(owned.get());
}

template <typename T> constexpr pumit_dtype dtype_of()
{
    if constexpr (std::is_same_v<T, float>)
        return PUMIT_F32;
    else if constexpr (std::is_same_v<T, double>)
        return PUMIT_F64;
    else if constexpr (std::is_same_v<T, uint8_t>)
        return PUMIT_U8;
    else if constexpr (std::is_same_v<T, int16_t>)
        return PUMIT_I16;
    else if constexpr (std::is_same_v<T, int32_t>)
        return PUMIT_I32;
    else {
        static_assert(std::is_same_v<T, int64_t>, "no tensor has elements of this type");
        return PUMIT_I64;
    }
}

} // namespace detail

/** One key with its value, for config{{"dim", 64}, {"pool", "cls"}, {"patch", config::json("[8,8,8]")}}. */
class option;

/** Options by key. An empty one is as good as none. */
class config : public detail::handle<pumit_config, pumit_config_release>
{
  public:
    /** JSON text as a value. */
    struct json {
        explicit json(std::string value) : text(std::move(value)) {}
        std::string text;
    };

    config()
    {
        make(pumit_config_create);
    }
    explicit config(pumit_config *taken) : handle(taken) {}
    inline config(std::initializer_list<option> options);

    static config parse(const std::string &text)
    {
        pumit_config *out = nullptr;
        check(pumit_config_parse(&out, text.c_str()));
        return config(out);
    }
    static config read(const std::string &path)
    {
        pumit_config *out = nullptr;
        check(pumit_config_read(&out, path.c_str()));
        return config(out);
    }

    template <typename T> config &set(const std::string &key, const T &value)
    {
        if constexpr (std::is_same_v<T, bool>)
            check(pumit_config_set_bool(get(), key.c_str(), value));
        else if constexpr (std::is_integral_v<T>)
            check(pumit_config_set_int(get(), key.c_str(), static_cast<int64_t>(value)));
        else if constexpr (std::is_floating_point_v<T>)
            check(pumit_config_set_double(get(), key.c_str(), static_cast<double>(value)));
        else if constexpr (std::is_same_v<T, json>)
            check(pumit_config_set_json(get(), key.c_str(), value.text.c_str()));
        else
            check(pumit_config_set_string(get(), key.c_str(), std::string(value).c_str()));
        return *this;
    }
    int64_t get_int(const std::string &key, int64_t fallback = 0) const
    {
        int64_t out = 0;
        check(pumit_config_get_int(&out, get(), key.c_str(), fallback));
        return out;
    }
    double get_double(const std::string &key, double fallback = 0) const
    {
        double out = 0;
        check(pumit_config_get_double(&out, get(), key.c_str(), fallback));
        return out;
    }
    bool get_bool(const std::string &key, bool fallback = false) const
    {
        int32_t out = 0;
        check(pumit_config_get_bool(&out, get(), key.c_str(), fallback));
        return out != 0;
    }
    std::string get_string(const std::string &key, const std::string &fallback = "") const
    {
        const char *out = nullptr;
        check(pumit_config_get_string(&out, get(), key.c_str(), fallback.c_str()));
        return out;
    }
    std::vector<int64_t> get_ints(const std::string &key, int32_t most = 64) const
    {
        std::vector<int64_t> out(static_cast<std::size_t>(most));
        int32_t count = 0;
        check(pumit_config_get_ints(out.data(), most, &count, get(), key.c_str()));
        out.resize(static_cast<std::size_t>(count));
        return out;
    }
    config section(const std::string &key) const
    {
        pumit_config *out = nullptr;
        check(pumit_config_get_section(&out, get(), key.c_str()));
        return config(out);
    }
    config &merge(const config &over)
    {
        check(pumit_config_merge(get(), over.get()));
        return *this;
    }
    std::string to_json() const
    {
        char *out = nullptr;
        check(pumit_config_to_json(&out, get()));
        return detail::take(out);
    }
};

class option
{
  public:
    template <typename T>
    option(const char *key, T value)
        : apply_([key, value](config &target) { target.set(key, value); })
    {
    }
    void apply(config &target) const
    {
        apply_(target);
    }

  private:
    std::function<void(config &)> apply_;
};

inline config::config(std::initializer_list<option> options) : config()
{
    for (const option &each : options) each.apply(*this);
}

/** The device, threads, memory and tape that tensors and models live in. */
class context : public detail::handle<pumit_context, pumit_context_release>
{
  public:
    using log_function = std::function<void(int32_t level, const char *message)>;
    struct memory_use {
        int64_t in_use, peak, system_allocations;
    };

    explicit context(const config &options = config())
    {
        make(pumit_context_create, options.get());
    }
    context(context &&) = default;
    context &operator=(context &&) = delete;
    /** Tensors may keep the C context; the log function goes with this object. */
    ~context()
    {
        if (get()) pumit_context_set_log(get(), nullptr, nullptr);
    }

    const char *device() const
    {
        return pumit_context_device(get());
    }
    int32_t threads() const
    {
        return pumit_context_threads(get());
    }
    /** `log` must not throw; an empty function drops the messages. */
    void set_log(log_function log)
    {
        auto next = log ? std::make_unique<log_function>(std::move(log)) : nullptr;
        pumit_context_set_log(get(), next ? &context::forward : nullptr, next.get());
        log_ = std::move(next);
    }
    bool set_recording(bool on)
    {
        return pumit_context_set_recording(get(), on) != 0;
    }
    memory_use memory() const
    {
        memory_use out{};
        check(pumit_context_memory(get(), &out.in_use, &out.peak, &out.system_allocations));
        return out;
    }
    void trim()
    {
        pumit_context_trim(get());
    }

  private:
    static void forward(void *user, int32_t level, const char *message)
    {
        (*static_cast<log_function *>(user))(level, message);
    }
    std::unique_ptr<log_function> log_;
};

/** Recording for gradients as long as this object lives. */
class recording
{
  public:
    explicit recording(context &owner) : owner_(owner), earlier_(owner.set_recording(true)) {}
    recording(const recording &) = delete;
    recording &operator=(const recording &) = delete;
    ~recording()
    {
        owner_.set_recording(earlier_);
    }

  private:
    context &owner_;
    bool earlier_;
};

/** An array of up to eight dimensions, channels last. */
class tensor : public detail::handle<pumit_tensor, pumit_tensor_release>
{
  public:
    explicit tensor(pumit_tensor *taken) : handle(taken) {}
    /** Zeros. */
    tensor(context &owner, pumit_dtype dtype, const std::vector<int64_t> &shape)
    {
        make(pumit_tensor_create, owner.get(), dtype, static_cast<int32_t>(shape.size()),
             shape.data());
    }
    /** A copy of `data`, which holds as many elements as `shape` says. */
    template <typename T>
    tensor(context &owner, const std::vector<int64_t> &shape, const std::vector<T> &data)
    {
        int64_t wanted = 1;
        for (const int64_t size : shape) wanted *= size;
        if (wanted != static_cast<int64_t>(data.size()))
            throw std::invalid_argument("data do not fill the shape");
        make(pumit_tensor_from_data, owner.get(), detail::dtype_of<T>(),
             static_cast<int32_t>(shape.size()), shape.data(),
             static_cast<const void *>(data.data()));
    }
    /** Takes a DLPack `DLManagedTensor *`. */
    static tensor from_dlpack(context &owner, void *managed)
    {
        pumit_tensor *out = nullptr;
        check(pumit_tensor_from_dlpack(&out, owner.get(), managed));
        return tensor(out);
    }
    /** Another reference to the same tensor. */
    tensor share() const
    {
        return tensor(pumit_tensor_retain(get()));
    }

    pumit_dtype dtype() const
    {
        return pumit_tensor_dtype(get());
    }
    std::vector<int64_t> shape() const
    {
        const int64_t *sizes = pumit_tensor_shape(get());
        return std::vector<int64_t>(sizes, sizes + pumit_tensor_ndim(get()));
    }
    int64_t count() const
    {
        return pumit_tensor_count(get());
    }
    /** The elements in place; std::invalid_argument if they are of another type. */
    template <typename T> T *data()
    {
        if (dtype() != detail::dtype_of<T>())
            throw std::invalid_argument("elements of another type");
        void *out = nullptr;
        check(pumit_tensor_data(&out, get()));
        return static_cast<T *>(out);
    }
    void touch()
    {
        pumit_tensor_touch(get());
    }
    /** A copy of the elements, converted. */
    template <typename T = float> std::vector<T> read() const
    {
        std::vector<T> out(static_cast<std::size_t>(count()));
        check(pumit_tensor_read(get(), detail::dtype_of<T>(), out.data(), bytes(out)));
        return out;
    }
    template <typename T> void write(const std::vector<T> &data)
    {
        check(pumit_tensor_write(get(), detail::dtype_of<T>(), data.data(), bytes(data)));
    }
    double item() const
    {
        double out = 0;
        check(pumit_tensor_item(&out, get()));
        return out;
    }
    void set_requires_grad(bool on = true)
    {
        check(pumit_tensor_set_requires_grad(get(), on));
    }
    void backward()
    {
        check(pumit_tensor_backward(get()));
    }
    /** The gathered gradient, if there is one. */
    std::optional<tensor> grad() const
    {
        pumit_tensor *out = nullptr;
        const pumit_status status = pumit_tensor_grad(&out, get());
        if (status == PUMIT_ERROR_NOT_FOUND) return std::nullopt;
        check(status);
        return tensor(out);
    }
    /** A DLPack `DLManagedTensor *`, which the caller's consumer deletes. */
    void *to_dlpack()
    {
        void *out = nullptr;
        check(pumit_tensor_to_dlpack(&out, get()));
        return out;
    }

  private:
    template <typename T> static int64_t bytes(const std::vector<T> &data)
    {
        return static_cast<int64_t>(data.size() * sizeof(T));
    }
};

} // namespace pumit

#endif
